# Too many clients, and hostile ones, see doc/reliability.md.

proc Limits {names} {
    Build
    set program [file join $::root tests limits run.tcl]
    return [CountsOf [Stream [list [info nameofexecutable] $program {*}$names]]]
}

verb limits {{name {}}} "?NAME?" "too many clients and hostile ones, see doc/reliability.md" {
    Conclude limits [Limits $name]
}
