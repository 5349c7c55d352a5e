# Installing, and its undoing.

# The manifest lists what was installed, relative to the prefix; the folders that
# had to be made end with "/".
set manifest share/doc/socketserver/manifest

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
    Fail "bad arguments \"$arguments\": only --prefix DIR is known"
}

# A list of source, target, ...: targets are relative to the prefix.
proc InstalledFiles {} {
    set home lib/tcltk/socketserver[Version]
    set files {}
    foreach file [glob -directory $::root *.tcl LICENSE] {
        if {[file tail $file] ne "build.tcl"} {
            lappend files $file $home/[file tail $file]
        }
    }
    foreach file [glob -directory $::root lib/*/uds* forkserver/*.tcl \
        socketserver/*.tcl socketserver/*/*.tcl] {
        lappend files $file $home/[fileutil::stripPath $::root $file]
    }
    foreach file [glob -directory $::root bin/*] {
        lappend files $file bin/[file tail $file]
    }
    foreach file [Doc] {
        lappend files $file share/man/man[string index [file extension $file] 1]/[file tail $file]
    }
    foreach file [glob -nocomplain -directory $::root doc/* examples/* README.md CHANGES.md] {
        lappend files $file share/doc/socketserver/[fileutil::stripPath $::root $file]
    }
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

# Written down as it goes, so that uninstall can also clear up half an installation.
proc Install {prefix} {
    set files [InstalledFiles]
    if {[file exists [file join $prefix $::manifest]]} {
        Uninstall $prefix
    }
    set made [MakeParents $prefix $::manifest]
    set list [open [file join $prefix $::manifest] w]
    puts $list [join [list {*}$made $::manifest] \n]
    foreach {source target} $files {
        puts $list [join [list {*}[MakeParents $prefix $target] $target] \n]
        flush $list
        set path [file join $prefix $target]
        file copy -force $source $path
        file attributes $path -permissions [expr {[file executable $source] ? 0755 : 0644}]
    }
    close $list
    puts "installed [expr {[llength $files] / 2}] files in $prefix"
}

# A folder that holds something else by now stays.
proc Uninstall {prefix} {
    set path [file join $prefix $::manifest]
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

verb install args "?--prefix DIR?" "installs packages, manual pages and examples (/usr/local)" {
    set prefix [Prefix $args]
    Build
    Install $prefix
}

verb uninstall args "?--prefix DIR?" "removes what install put there" {
    Uninstall [Prefix $args]
}
