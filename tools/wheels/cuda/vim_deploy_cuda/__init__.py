"""The folder `lib` has the GPU libraries of vim_deploy."""
