set(pkgs libuv)
