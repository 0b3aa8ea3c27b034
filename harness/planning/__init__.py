"""From a table to cells, from cells to runs, from runs to populations."""
