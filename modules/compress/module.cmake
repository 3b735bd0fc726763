set(pkgs libzstd)
