# A Debian package for the system that runs this, and its trial: it is made in Debian 12
# and 13, judged by lintian, and installed in a clean Debian, where packaging/smoke.tcl
# tries it. It has the library for each Tcl that is here with what it takes to build it.

package require textutil::adjust

set debName tcl-socketserver

# What it takes to make it in a Debian in a folder.
set debTools {dpkg-dev critcl g++ tcl tcl-dev tcllib}
# The same and what the suites need that are run there.
set debPackages [dict create \
    bookworm [list {*}$debTools procps util-linux] \
    trixie [lsort -unique [list {*}$debTools {*}$tcl9Packages]]]
# Another Tcl to try it with where it is installed, besides the one that it needs.
set debOthers [dict create bookworm {} trixie tcl9.0]

proc DebPath {args} {
    return [file join $::root build deb {*}$args]
}

# The value of a name in /etc/os-release.
proc SystemFact {name} {
    if {[file exists /etc/os-release]} {
        regexp -line "^$name=\"?(\[^\"\\n\]*)" [fileutil::cat /etc/os-release] -> value
    }
    return [expr {[info exists value] ? $value : ""}]
}

# The same sources make another package on each version of a system; that of a later
# system is the newer one.
proc DebVersion {} {
    set system [string map {debian deb} [SystemFact ID]][SystemFact VERSION_ID]
    return [Version][expr {$system eq "" ? "" : "~$system"}]
}

# ---- the libraries ---------------------------------------------------------------

# Built as Debian wants its packages.
proc DebLibrary {} {
    set target [VariantPath deb [file tail $::library]]
    foreach name {CPPFLAGS CFLAGS LDFLAGS} {
        set $name [exec env DEB_BUILD_MAINT_OPTIONS=hardening=+all \
            {*}[Tool dpkg-buildflags] --get $name]
    }
    BuildLibrary $target "$CPPFLAGS $CFLAGS" $LDFLAGS
    return $target
}

# All versions of Tcl here that can build it, each by its tclsh.
proc DebLibraries {} {
    set libraries [list [DebLibrary]]
    foreach shell {tclsh8.6 tclsh9.0} {
        if {![string match "tclsh$::major.*" $shell] && [CanBuild $shell]} {
            lappend libraries [lindex [split [exec -ignorestderr $shell \
                [file join $::root build.tcl] deb library] \n] end]
        }
    }
    return $libraries
}

proc CanBuild {shell} {
    return [expr {![catch {exec $shell << {
        package require critcl
        close [open [file join [tcl::pkgconfig get includedir,runtime] tcl.h]]
    }}]}]
}

# ---- the files -------------------------------------------------------------------

# Puts all files to where they will be, as Debian wants them.
proc DebStage {stage libraries} {
    set layout [Layout /usr $::debName]
    set target [file join $stage usr]
    foreach {source path} [InstalledFiles $layout $libraries] {
        file mkdir [file join $target [file dirname $path]]
        InstallFile $source [file join $target $path] /usr/bin
    }
    dict with layout {}
    file delete [file join $target $home LICENSE] ;# it is in the file copyright
    foreach program [glob -directory [file join $target $bin] *] {
        fileutil::updateInPlace $program {apply {{text} {
            regsub {^#!/usr/bin/env tclsh} $text {#!/usr/bin/tclsh}
        }}}
        file attributes $program -permissions 0755
    }
    fileutil::writeFile [file join $target $doc copyright] [DebCopyright]
    fileutil::writeFile [file join $target $doc changelog] [DebChangelog]
    file mkdir [file join $target share lintian overrides]
    file copy [file join $::root packaging lintian-overrides] \
        [file join $target share lintian overrides $::debName]
    exec gzip -n -9 {*}[glob -directory [file join $target $man] man*/*] \
        [file join $target $doc changelog]
    foreach library [glob -directory [file join $target $home] lib/*/uds*] {
        exec strip --strip-unneeded --remove-section=.comment --remove-section=.note $library
        file attributes $library -permissions 0644
    }
}

proc DebCopyright {} {
    set text [string trim [fileutil::cat [file join $::root LICENSE]]]
    regexp {^Copyright (?:\(c\) )?([^\n]*)\n+(.*)$} $text -> holder terms
    return [join [list \
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/" \
        "Upstream-Name: socketserver" "" "Files: *" "Copyright: $holder" \
        "License: BSD-2-Clause" {*}[lmap line [split $terms \n] {
            string cat " " [expr {$line eq "" ? "." : $line}]
        }] ""] \n]
}

# The newest part of CHANGES.md, in Debian's form.
proc DebChangelog {} {
    set text [fileutil::cat [file join $::root CHANGES.md]]
    regexp {\n## (\S+)\n+(.*?)(?:\n## |$)} $text -> newest changes
    if {$newest ne [Version]} {
        Fail "the newest version in CHANGES.md is $newest, and not [Version]"
    }
    # A part begins with a dash or after an empty line.
    regsub -all {\n(?=- )} [string trim $changes] "\n\n" changes
    set items [lmap {all item} [regexp -all -inline {((?:[^\n]+\n?)+)} $changes] {
        set lines [split [textutil::adjust::adjust [string trimleft $item "- "] -length 72] \n]
        string cat "  * " [join $lines "\n    "]
    }]
    return [join [list "$::debName ([DebVersion]) unstable; urgency=medium" "" {*}$items "" \
        " -- [DebMaintainer]  [clock format [SourceTime] -gmt 1 \
            -format "%a, %d %b %Y %H:%M:%S +0000"]" ""] \n]
}

# Who makes it says so as for any other package.
proc DebMaintainer {} {
    set name "The authors of socketserver"
    set address socketserver@packages.invalid
    foreach {variableName setting} {name DEBFULLNAME address DEBEMAIL} {
        if {[info exists ::env($setting)] && $::env($setting) ne ""} {
            set $variableName $::env($setting)
        }
    }
    return "$name <$address>"
}

# What the libraries need of the system.
proc DebDepends {libraries} {
    set directory [DebPath shlibs]
    file mkdir [file join $directory debian]
    fileutil::writeFile [file join $directory debian control] \
        "Source: $::debName\n\nPackage: $::debName\nArchitecture: any\n"
    set before [pwd]
    cd $directory
    try {
        set line [exec -ignorestderr {*}[Tool dpkg-shlibdeps] -O {*}$libraries 2>/dev/null]
    } finally {
        cd $before
    }
    return [regsub {^shlibs:Depends=} $line {}]
}

# ---- the package -----------------------------------------------------------------

# Returns its path.
proc Deb {} {
    set libraries [DebLibraries]
    set stage [DebPath root]
    file delete -force $stage
    DebStage $stage $libraries
    set size [lindex [exec du -k -s --apparent-size $stage] 0]
    set architecture [exec {*}[Tool dpkg] --print-architecture]
    file mkdir [file join $stage DEBIAN]
    fileutil::writeFile [file join $stage DEBIAN control] [string map [list \
        @VERSION@ [DebVersion] @ARCHITECTURE@ $architecture @SIZE@ $size \
        @MAINTAINER@ [DebMaintainer] @DEPENDS@ [DebDepends $libraries]] \
        [fileutil::cat [file join $::root packaging control]]]
    set files [lsort [split [exec find $stage/usr -type f -printf usr/%P\n] \n]]
    set before [pwd]
    cd $stage
    try {
        fileutil::writeFile DEBIAN/md5sums [exec xargs md5sum << [join $files \n]]\n
    } finally {
        cd $before
    }
    exec chmod -R u=rwX,go=rX $stage
    set target [file join $::root build ${::debName}_[DebVersion]_$architecture.deb]
    exec env SOURCE_DATE_EPOCH=[SourceTime] dpkg-deb --root-owner-group -Zxz --build \
        $stage $target
    return $target
}

verb deb {{part package}} "?library?" "a Debian package in build/; its library for this Tcl only" {
    switch -- $part {
        package {
            Tool dpkg-deb
            puts [Deb]
        }
        library {
            puts [DebLibrary]
        }
        default {
            Misuse "unknown part \"$part\"[socketserver::DidYouMean $part {package library}]"
        }
    }
}

# ---- the trial -------------------------------------------------------------------

# $1 the folder, $2 the source archive, $3 where the package goes. Makes the package there
# of the unpacked archive, and runs some suites; there is no git.
set debBuild {
    set -eu
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
    mkdir "$1/tmp/project"
    tar -x -C "$1/tmp/project" --no-same-owner --strip-components=1 -f "$2"
    inside() {
        chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
            sh -c 'cd /tmp/project && exec "$@"' sh $2
    }
    inside "$1" "tclsh build.tcl deb"
    mkdir "$1/tmp/project/lib"
    cp -r "$1"/tmp/project/build/deb/tcl* "$1/tmp/project/lib/"
    inside "$1" "tclsh build.tcl test unix_sockets"
    cp "$1"/tmp/project/build/*.deb "$3/"
}

# $1 the folder, $2 the package, $3 what tries it, $4 the version, then other packages. All
# of it is done to a copy that goes away with this name space, and so do the processes.
set debSmoke {
    set -eu
    mount -t tmpfs -o mode=755 tmpfs /mnt
    cp -a "$1/." /mnt/
    mount -t proc proc /mnt/proc
    mount --rbind /dev /mnt/dev
    cp "$2" /mnt/tmp/package.deb
    cp "$3" /mnt/tmp/smoke.tcl
    chmod a+r /mnt/tmp/*
    inside() {
        chroot /mnt env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive "$@"
    }
    version=$4
    shift 4
    for package in /tmp/package.deb "$@"; do
        inside apt-get -q -y install --no-install-recommends "$package" >/mnt/tmp/log 2>&1 || {
            cat /mnt/tmp/log
            exit 1
        }
    done
    inside tclsh /tmp/smoke.tcl "$version"
}

proc HostSuite {} {
    return [SystemFact VERSION_CODENAME]
}

# The package for a version of Debian: made here, or there.
proc DebFor {suite archive} {
    if {$suite eq [HostSuite]} {
        return [Deb]
    }
    if {![dict exists $::debPackages $suite]} {
        Misuse "unknown version \"$suite\": must be [join [dict keys $::debPackages] { or }]"
    }
    set prefix [Privileged]
    set folder [expr {$suite eq "trixie" ? [Tcl9Folder] : [CacheFolder uds-deb-build $suite]}]
    SetUpFolder $prefix $folder [dict get $::debPackages $suite]
    set output [DebPath $suite]
    file delete -force $output
    file mkdir $output
    exec -ignorestderr {*}$prefix unshare --mount sh -c $::debBuild sh $folder \
        $archive $output </dev/null >@stdout 2>@1
    return [glob -directory $output *.deb]
}

# A Debian with nothing in it but the packages that will be needed, not yet installed.
proc CleanFolder {prefix suite} {
    set folder [CacheFolder uds-deb $suite]
    SetUpFolder $prefix $folder {}
    exec {*}$prefix unshare --mount sh -c {
        set -eu
        folder=$1
        shift
        [ ! -e "$folder/var/cache/apt/fetched" ] || exit 0
        cp -L /etc/resolv.conf "$folder/etc/resolv.conf"
        chroot "$folder" apt-get -q update
        chroot "$folder" apt-get -q -y -d install --no-install-recommends "$@"
        touch "$folder/var/cache/apt/fetched"
    } sh $folder tcl tcllib {*}[dict get $::debOthers $suite] 2>@1
    return $folder
}

# What is left is in packaging/lintian-overrides, with the reasons. Words in the library are
# not judged: compilers store the last letters of a text with another instruction.
proc DebLint {package} {
    exec {*}[Tool lintian] --display-info --fail-on error,warning,info --allow-root \
        --suppress-tags spelling-error-in-binary $package >@stdout 2>@1
    return [Counts 1 0 0]
}

proc DebTry {suite package} {
    set prefix [Privileged]
    set folder [CleanFolder $prefix $suite]
    return [CountsOf [Stream [list {*}$prefix unshare --mount --pid --fork --kill-child \
        sh -c $::debSmoke sh $folder $package [file join $::root packaging smoke.tcl] [Version] \
        {*}[dict get $::debOthers $suite]]]]
}

proc TestDeb {suites} {
    set archive [Archive [DebPath]]
    set counts [Counts 0 0 0]
    foreach suite $suites {
        set package {}
        foreach {title script} {
            "package for" {set package [DebFor $suite $archive]; puts $package; Counts 1 0 0}
            "lintian, package for" {DebLint $package}
            "clean installation," {DebTry $suite $package}
        } {
            if {$package ne {} || $title eq "package for"} {
                set counts [AddCounts $counts [Step "$title Debian $suite" $script]]
            }
        }
    }
    return $counts
}

# For CI: the package of this system.
proc DebHere {} {
    if {![dict exists $::debPackages [HostSuite]]} {
        Skip "this is neither Debian 12 nor 13"
    }
    return [TestDeb [HostSuite]]
}

verb test-deb args "?SUITES?" "makes and tries packages for Debian: bookworm and trixie" {
    Conclude test-deb [TestDeb [expr {$args eq {} ? [dict keys $::debPackages] : $args}]]
}
