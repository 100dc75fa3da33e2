#!/bin/sh
# Start a test with a folder of its own for the files that Open MPI keeps of a job: own_folder.sh COMMAND...
# Jobs in one folder make and remove the same folder of their user there, and one that starts while another ends may fail
# ("mkdir ...: File exists"). The path is short, because the name of a socket in it has at most 107 bytes.
folder=$(mktemp -d "${TMPDIR:-/tmp}/vj.XXXXXX") || exit 1
trap 'rm -rf "$folder"' EXIT
OMPI_MCA_orte_tmpdir_base=$folder "$@"
