visionfm profile slurm                               # writes slurm/config.yaml; edit its lines under "your site"
visionfm run clinic.yaml --profile slurm -n -F       # what would be submitted; -F: as if nothing had been computed yet
