"""Names and version of the operators that engines for the processor may use: plugins/fused/README.md."""

FUSED_DOMAIN = "vim_deploy.cpu"
FUSED_VERSION = 2
