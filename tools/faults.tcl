# What makes system calls fail, see tests/faults/inject.cpp.
proc BuildInjector {} {
    set source [file join $::root tests faults inject.cpp]
    set target [file join $::root build faults tcl$::major inject[info sharedlibextension]]
    if {![UpToDate $target [list $source]]} {
        file mkdir [file dirname $target]
        exec -ignorestderr {*}[Tool g++] -std=c++17 -O1 -g -Wall -Wno-ignored-attributes \
            -shared -fPIC -I[IncludeDirectory] -o $target.[pid] $source
        file rename -force $target.[pid] $target
    }
    return $target
}

proc Faults {pattern} {
    Build
    set program [file join $::root tests faults.tcl]
    return [CountsOf [Stream [list [info nameofexecutable] $program [BuildInjector] $pattern]]]
}

verb faults {{pattern *}} "?PATTERN?" "each system call fails in turn, see doc/reliability.md" {
    Conclude faults [Faults $pattern]
}
