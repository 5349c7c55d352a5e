# Debian 12 has no Tcl 9, so the suites run in a Debian 13 that debootstrap puts
# into a folder, once, outside of the project.

set tcl9Packages {
    tcl9.0 tcl9.0-dev tcl9.0-thread critcl tcllib g++ make
    curl haproxy iproute2 jq ncat netcat-openbsd nginx openssl procps python3 socat strace
    util-linux valgrind wrk
}

# $1 the folder, called as the version of Debian, the rest packages. Makes the folder when
# it is missing, and adds the packages that are. Runs in a mount name space that ends with it.
set folderSetUp {
    set -eu
    folder=$1
    shift
    if [ ! -d "$folder" ]; then
        rm -rf --one-file-system "$folder.new"
        debootstrap --variant=minbase "$(basename "$folder")" "$folder.new"
        printf '127.0.0.1 localhost\n::1 localhost\n' >"$folder.new/etc/hosts"
        mv "$folder.new" "$folder"
    fi
    installed=$(chroot "$folder" dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" || true)
    missing=
    for package in "$@"; do
        echo "$installed" | grep -qxF "installed $package" || missing="$missing $package"
    done
    [ -n "$missing" ] || exit 0
    mount -t proc proc "$folder/proc"
    mount --rbind /dev "$folder/dev"
    cp -L /etc/resolv.conf "$folder/etc/resolv.conf"
    export DEBIAN_FRONTEND=noninteractive
    chroot "$folder" apt-get -q update
    chroot "$folder" apt-get -q -y install --no-install-recommends $missing
}

# $1 the folder, $2 the project, $3 the suites, $4 the verb for them. The same kind of
# name space: what is mounted here, with the copy of the project, goes away however this ends.
set tcl9Run {
    set -eu
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
    mkdir "$1/tmp/project"
    tar -c -C "$2" --exclude=./build --exclude=./lib --exclude=./.git . |
        tar -x -C "$1/tmp/project" --no-same-owner
    exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        tclsh9.0 /tmp/project/build.tcl "$4" "$3"
}

# Where folders with other systems stay.
proc CacheFolder {args} {
    set cache [expr {[info exists ::env(XDG_CACHE_HOME)] ? $::env(XDG_CACHE_HOME) : "/var/cache"}]
    return [file join $cache {*}$args]
}

proc Tcl9Folder {} {
    return [CacheFolder uds-tcl9 trixie]
}

# The prefix of a command that may mount and chroot.
proc Privileged {} {
    set prefix {}
    if {[exec id -u] != 0} {
        if {[auto_execok sudo] eq {} || [catch {exec sudo -n true}]} {
            Skip "only root may set up another Debian in a folder"
        }
        set prefix {sudo -n}
    }
    if {[catch {exec {*}$prefix unshare --mount sh -c {mount -t tmpfs tmpfs /mnt}}]} {
        Skip "this machine does not let root mount, which another Debian in a folder needs"
    }
    return $prefix
}

# A Debian in a folder, which has these packages.
proc SetUpFolder {prefix folder packages} {
    # It is not in everybody's PATH.
    if {![file exists $folder] && [catch {exec {*}$prefix sh -c {command -v debootstrap}}]} {
        Skip "there is no debootstrap here"
    }
    exec {*}$prefix mkdir -p [file dirname $folder]
    set log [file join $::root build [file tail [file dirname $folder]]-[file tail $folder].log]
    file mkdir [file dirname $log]
    puts "Debian [file tail $folder] in $folder (a few minutes when it is new)"
    flush stdout
    if {[catch {
        exec -ignorestderr {*}$prefix flock $folder.lock unshare --mount \
            sh -c $::folderSetUp sh $folder {*}$packages > $log 2>@1
    }]} {
        Fail "couldn't set up $folder:\n[fileutil::cat $log]"
    }
}

proc HasTcl9 {} {
    return [expr {![catch {exec tclsh9.0 << {package require critcl}}]}]
}

proc Tcl9 {pattern {verb test}} {
    if {[HasTcl9]} {
        set program [file join $::root build.tcl]
        return [CountsOf [Stream [list tclsh9.0 $program $verb $pattern]]]
    }
    set prefix [Privileged]
    set folder [Tcl9Folder]
    SetUpFolder $prefix $folder $::tcl9Packages
    return [CountsOf [Stream [list {*}$prefix unshare --mount \
        sh -c $::tcl9Run sh $folder $::root $pattern $verb]]]
}

verb test-tcl9 {{pattern *} {verb test}} "?PATTERN? ?VERB?" \
    "suites on Tcl 9, in a Debian 13 folder if need be (VERB: sanitize)" {
    Conclude test-tcl9 [Step test-tcl9 {Tcl9 $pattern $verb}]
}
