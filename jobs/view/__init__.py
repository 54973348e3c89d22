"""`mpo view`: a local web page over the records of runs, read only."""
