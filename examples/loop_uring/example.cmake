set(pkgs liburing)
