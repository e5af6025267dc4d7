"""How datasets lie on disk: in each layout its images, its label files and its rows."""
