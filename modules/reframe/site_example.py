"""Systems for ReFrame: this machine, with mpirun and no scheduler, and an example of a cluster with Slurm. Copy this
file, and put in the names of your cluster: partitions, options of your account, modules."""

site_configuration = {
    'systems': [
        {
            'name': 'workstation',
            'descr': 'any single machine',
            'hostnames': ['.*'],
            'partitions': [{'name': 'cpu', 'scheduler': 'local', 'launcher': 'mpirun', 'environs': ['default'], 'max_jobs': 1}],
        },
        {
            'name': 'cluster',
            'descr': 'Slurm, nodes with CPUs and nodes with GPUs; chosen by --system=cluster',
            'hostnames': ['login[0-9]+'],
            'modules_system': 'lmod',
            'partitions': [
                {
                    'name': 'cpu',
                    'scheduler': 'slurm',
                    'launcher': 'srun',
                    'access': ['--partition=cpu', '--account=PROJECT'],
                    'environs': ['default'],
                    'max_jobs': 8,
                },
                {
                    'name': 'gpu',
                    'scheduler': 'slurm',
                    'launcher': 'srun',
                    # A rank must see all GPUs of its node.
                    'access': ['--partition=gpu', '--account=PROJECT', '--gpus-per-node=4', '--gpu-bind=none'],
                    'environs': ['default'],
                    'max_jobs': 8,
                },
            ],
        },
    ],
    'environments': [{'name': 'default', 'cc': 'cc', 'target_systems': ['*']}],
    'logging': [
        {
            'handlers': [{'type': 'stream', 'name': 'stdout', 'level': 'info', 'format': '%(message)s'}],
            'handlers_perflog': [
                {
                    'type': 'filelog',
                    'prefix': '%(check_system)s/%(check_partition)s',
                    'level': 'info',
                    'format': '%(check_job_completion_time)s,%(check_name)s,%(check_num_tasks)s,%(check_perfvalues)s',
                    'append': True,
                }
            ],
        }
    ],
}
