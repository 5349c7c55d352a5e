# Core suites under valgrind, which sees what the sanitizers cannot: memory that is used
# before it has a value, also in what Tcl and the C library do with it.

# What they start as programs of their own runs as ever, what they fork does not.
set valgrindSuites {unix_sockets channel passing queue handover connection endpoint}
set valgrindOptions {
    -q --vgdb=no --child-silent-after-fork=no --num-callers=40 --fair-sched=try
    --leak-check=full --show-leak-kinds=definite
}

proc Valgrind {pattern} {
    set tool [Tool valgrind]
    Build
    set reports [file join [fileutil::tempdir] uds-valgrind-[pid]]
    file mkdir $reports
    file attributes $reports -permissions 01777
    try {
        set under [list {*}$tool {*}$::valgrindOptions --log-file=[file join $reports %p]]
        set patterns [expr {$pattern eq {} ? $::valgrindSuites : [list $pattern]}]
        set counts [RunSuites $::root [list [info nameofexecutable]] \
            [list -deadline 1800 -under $under {*}$patterns]]
        return [AddCounts $counts [ValgrindFindings $reports]]
    } finally {
        file delete -force $reports
    }
}

# Forked processes write into one file.
proc ValgrindFindings {reports} {
    set failed 0
    set others 0
    foreach file [glob -nocomplain -directory $reports *] {
        set texts {}
        set lines [regexp -all -inline -line {^==(\d+)== ?(.*)$} [fileutil::cat $file]]
        foreach {all pid line} $lines {
            dict append texts $pid $line \n
        }
        foreach part [regexp -all -inline {(?:[^\n]+\n)+} [join [dict values $texts] \n\n]] {
            if {![regexp {^ +(at|by) 0x} [lindex [split $part \n] 1]]} {
                continue
            } elseif {[regexp {uds::|uds\.so} $part]} {
                puts $part
                incr failed
            } else {
                incr others
            }
        }
    }
    puts "valgrind: $failed findings in our code; $others in Tcl's only"
    return [Counts [expr {$failed == 0}] $failed 0]
}

verb valgrind {{pattern {}}} "?PATTERN?" "core suites under valgrind" {
    Conclude valgrind [Step valgrind {Valgrind $pattern}]
}
