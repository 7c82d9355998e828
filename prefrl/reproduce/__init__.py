"""Claims of the paper: their runs, made side by side, and the tables and figures that they come to."""
