"""Foreign tables: spreadsheets, delimited text of any origin and Parquet become one thing, columns of text.

What a file is, its bytes say, not its name. What its cells mean (eyes, splits, numbers, paths) is read here too; what
could be read in two ways is a problem that names both, never a guess.
"""
