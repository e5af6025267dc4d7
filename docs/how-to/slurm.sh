visionfm profile slurm                               # writes slurm/config.yaml; edit its lines under "your site"
rm -rf results                                       # as if nothing had been computed yet
visionfm run clinic.yaml --profile slurm -n          # what would be submitted
