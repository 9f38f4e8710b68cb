"""Domain and version of the fused operators of CPU engines; see plugins/fused/README.md."""

FUSED_DOMAIN = "vim_deploy.fused"
FUSED_VERSION = 4
