"""What begins somebody's own specs: skeletons of files, and tables read from what a paper printed.

A printed table goes through four steps, each a module: `sources` finds the tables of a file, whatever its
format, and makes grids of text of them (LaTeX's by `tex`); `scores` says what the text of a cell means;
`layout` finds out which dataset and which algorithm a cell belongs to, by the names in `naming`; `writing`
makes the YAML and CSV files. What is not certain is left out in each step and said, with its place.
"""
