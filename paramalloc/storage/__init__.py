"""Results that outlive machines: a folder whose files are also under `s3://bucket/prefix/<sweep>`.

Always holds: the program reads and writes local files; what is in S3 is a copy that is at most seconds behind, in
which every file is whole and nothing rests on a file that is not there yet. One driver at a time writes it.
"""
