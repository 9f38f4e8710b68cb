"""What is done with an engine, one module for each kind of engine; predict.py and inference.py know none."""
