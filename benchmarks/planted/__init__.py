"""Small BIDS trees of random ingredients whose responses, pictures and labels are known.

`recipe` draws the ingredients, `tree` writes the files, `truth` computes what they must give with
NumPy alone, and `check` prepares a tree and compares. What is right is taken from the BIDS and
fMRIPrep conventions, not from what `prepare bids` does.
"""
