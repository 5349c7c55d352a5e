# A pool under connections that are all accounted for, and what is done to it at random. See
# doc/reliability.md.

proc BuildChaosClients {} {
    set source [file join $::root tests chaos clients.cpp]
    set headers [file join $::root bench programs]
    set target [file join $::root build chaos clients]
    if {![UpToDate $target [list $source {*}[glob -directory $headers *.h]]]} {
        file mkdir [file dirname $target]
        exec -ignorestderr {*}[Tool g++] -std=c++17 -O2 -Wall -Wextra -I$headers \
            -o $target.[pid] $source
        file rename -force $target.[pid] $target
    }
    return $target
}

proc Chaos {connections seed} {
    Build
    set program [file join $::root tests chaos chaos.tcl]
    set options [list -connections $connections -save [file join $::root build chaos]]
    if {$seed ne {}} {
        lappend options -seed $seed
    }
    return [CountsOf [Stream [list [info nameofexecutable] $program [BuildChaosClients] \
        {*}$options]]]
}

verb chaos {{connections 1000000} {seed {}}} "?CONNECTIONS? ?SEED?" \
    "accounts for each connection while processes die, see doc/reliability.md" {
    Conclude chaos [Chaos $connections $seed]
}
