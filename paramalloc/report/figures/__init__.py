"""The figures of a report, one file each; `gallery.py` says which a sweep has, `style.py` how they look."""
