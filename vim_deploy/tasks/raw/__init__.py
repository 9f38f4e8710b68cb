"""Named arrays in, named arrays out: any network, without images."""
