# Installing, and its undoing.

# Where what goes, relative to the prefix.
proc Layout {prefix {documentation socketserver}} {
    return [dict create home [PackageDirectory $prefix $::auto_path]/socketserver[Version] bin bin \
        man share/man doc share/doc/$documentation units lib/systemd/system \
        completions share/bash-completion/completions]
}

# The place for packages below the prefix, of those in which this tclsh looks: Debian's has
# one for each architecture below /usr, others have lib, lib64/tcl8.6 and so on. Below any
# other prefix it is lib/tcltk, which the programs know, too. The library is in a folder for
# each major version of Tcl, so that the place may be the same for all of them.
proc PackageDirectory {prefix places} {
    set places [lsearch -all -inline $places [string trimright $prefix /]/lib*]
    set places [lsearch -all -inline -not -exact $places [info library]]
    foreach pattern [list */lib/tcltk/*-*-* */lib/tcltk *] {
        set place [lsearch -inline $places $pattern]
        if {$place ne {}} {
            return [fileutil::stripPath $prefix $place]
        }
    }
    return lib/tcltk
}

# The manifest lists what was installed, relative to the prefix; the folders that
# had to be made end with "/".
proc Manifest {} {
    return share/doc/socketserver/manifest
}

proc Prefix {arguments} {
    lassign $arguments option directory
    if {[llength $arguments] == 1 && [regexp {^--prefix=(.+)$} $option -> directory]} {
        return [file normalize $directory]
    }
    if {[llength $arguments] == 2 && $option eq "--prefix" && $directory ne {}} {
        return [file normalize $directory]
    }
    if {$arguments eq {}} {
        return /usr/local
    }
    Misuse "bad arguments \"$arguments\": only --prefix DIR is known"
}

# With DESTDIR in the environment the files go below it, as they would be below "/": for
# packages of other systems.
proc Below {prefix} {
    return [expr {[info exists ::env(DESTDIR)] ? $::env(DESTDIR) : ""}]$prefix
}

# A list of source, target, ...: targets are relative to the prefix. libraries are the
# shared libraries, one for each major version of Tcl, in folders such as tcl8.
proc InstalledFiles {layout libraries} {
    dict with layout {}
    set files {}
    foreach file [glob -directory $::root *.tcl LICENSE] {
        if {[file tail $file] ne "build.tcl"} {
            lappend files $file $home/[file tail $file]
        }
    }
    foreach file $libraries {
        lappend files $file $home/lib/[file tail [file dirname $file]]/[file tail $file]
    }
    foreach file [glob -types f -directory $::root {{forkserver,socketserver}/{*,*/*}}] {
        lappend files $file $home/[fileutil::stripPath $::root $file]
    }
    foreach file [glob -directory $::root bin/*] {
        lappend files $file $bin/[file tail $file]
    }
    foreach file [Doc] {
        lappend files $file $man/man[string index [file extension $file] 1]/[file tail $file]
    }
    foreach file [glob -types f -directory $::root doc/* examples/* *.md] {
        lappend files $file $doc/[fileutil::stripPath $::root $file]
    }
    lappend files [file join $::root packaging completion.bash] $completions/socketserver \
        [file join $::root packaging completion.bash] $completions/socketserverctl \
        [file join $::root packaging socketserver@.service] $units/socketserver@.service
    return $files
}

# Makes the missing folders above a path and returns them.
proc MakeParents {prefix path} {
    set made {}
    for {set parent [file dirname $path]} {$parent ne "."} {set parent [file dirname $parent]} {
        if {![file exists [file join $prefix $parent]]} {
            lappend made $parent/
        }
    }
    file mkdir [file join $prefix [file dirname $path]]
    return $made
}

# Copies a file. In what is installed, @BIN@ is where the programs are.
proc InstallFile {source path bin} {
    if {[file extension $source] eq ".service"} {
        fileutil::writeFile $path [string map [list @BIN@ $bin] [fileutil::cat $source]]
    } else {
        file copy -force $source $path
    }
    file attributes $path -permissions [expr {[file executable $source] ? 0755 : 0644}]
}

# Written down as it goes, so that uninstall can also clear up half an installation.
proc Install {prefix} {
    set layout [Layout $prefix]
    set files [InstalledFiles $layout [glob -directory $::root lib/*/uds*]]
    set target [Below $prefix]
    set manifest [file join $target [Manifest]]
    if {[file exists $manifest]} {
        Uninstall $target
    }
    set made [MakeParents $target [Manifest]]
    set list [open $manifest w]
    puts $list [join [list {*}$made [Manifest]] \n]
    foreach {source path} $files {
        puts $list [join [list {*}[MakeParents $target $path] $path] \n]
        flush $list
        InstallFile $source [file join $target $path] [file join $prefix [dict get $layout bin]]
    }
    close $list
    puts "installed [expr {[llength $files] / 2}] files in $target"
}

# A folder that holds something else by now stays.
proc Uninstall {prefix} {
    set path [file join $prefix [Manifest]]
    if {![file exists $path]} {
        Fail "nothing is installed in $prefix: there is no $path"
    }
    # In this order a folder comes after what it holds.
    foreach item [lsort -decreasing [split [string trim [fileutil::cat $path]] \n]] {
        set item [file join $prefix $item]
        if {[file isdirectory $item]} {
            catch {file delete $item}
        } else {
            file delete $item
        }
    }
    puts "removed what was installed in $prefix"
}

verb install args "?--prefix DIR?" "installs all that a user needs (/usr/local)" {
    set prefix [Prefix $args]
    Build
    Install $prefix
}

verb uninstall args "?--prefix DIR?" "removes what install put there" {
    Uninstall [Below [Prefix $args]]
}
