set(pkgs libxxhash)
