"""What detection needs around the network: masks pasted, COCO's formats, average precision, pictures."""
