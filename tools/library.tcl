# Building the library.

proc UpToDate {target sources} {
    if {![file exists $target]} {
        return 0
    }
    set built [file mtime $target]
    foreach source $sources {
        if {[file mtime $source] >= $built} {
            return 0
        }
    }
    return 1
}

# Lets critcl build the library. The target appears complete or not at all, and is
# dated from before the compiler read the sources, which may change meanwhile.
proc BuildLibrary {target {cflags {}} {ldflags {}} {options {}}} {
    if {[UpToDate $target [glob -directory [file join $::root cpp] *]]} {
        return
    }
    set began [clock milliseconds]
    puts "building [fileutil::stripPath $::root $target] for Tcl [info patchlevel]"
    set work [file join $::root build critcl-[pid]]
    file mkdir $work [file dirname $target]
    try {
        exec -ignorestderr env "UDS_CFLAGS=$cflags" "UDS_LDFLAGS=$ldflags" {*}[Critcl] \
            {*}$options -cache [file join $work cache] -libdir [file join $work out] \
            -pkg [file join $::root cpp uds.tcl] > [file join $work log] 2>@1
        file copy [glob [file join $work out uds * uds[info sharedlibextension]]] $target.[pid]
        file mtime $target.[pid] [expr {$began / 1000}]
        file rename -force $target.[pid] $target
    } on error {} {
        Fail "critcl couldn't build the library:\n[fileutil::cat [file join $work log]]"
    } finally {
        file delete -force $work
    }
    puts "built in [Seconds $began]"
}

# Debian's critcl program names its own tclsh; this runs it with ours.
proc Critcl {} {
    set program [auto_execok critcl]
    if {$program eq {}} {
        Fail "critcl is not installed: ./bootstrap build installs what is needed"
    }
    return [list [info nameofexecutable] {*}$program]
}

proc Build {} {
    BuildLibrary [file join $::root $::library]
}

verb build {} "" "builds the library, if cpp/ has changed" {
    Build
}
