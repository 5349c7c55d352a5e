# What report.test, control.test, health.test and ctl.test have in common. Index:
#
#   stats ?KEY VALUE ...?  what a pool answers, with some values changed
#   FakePool               a class with the methods of a pool that the control socket
#                          and the health answers call; it notes the calls
#   collect CHANNEL        has what comes appended to ::got(CHANNEL), and "<eof>"
#   say CHANNEL TEXT       writes a text at once
#   outputOf PROGRAM ...   what a program prints, with the event loop running meanwhile

proc stats {args} {
    return [dict replace {
        name demo state running pid 123 uptime 5012 generation 1 reloads 0 mode prefork
        listeners {
            {endpoint 127.0.0.1:8080 address {127.0.0.1 127.0.0.1 8080}}
            {endpoint unix:/run/demo.sock address /run/demo.sock}
        }
        wanted 2 spawned 3 alive 2 ready 2 idle 1 busy 1 booting 0 retiring 0
        accepted 10 queued 0 active 1 served 9 refused 2 refusals {rate 2}
        redelivered 0 cut 1 accepterrors 0 exits {recycled 2 {signal "9"} 1} lasterror {}
        paused {} waitmean 12.5 waitp50 10 waitp99 80 rss 12345678
        workers {
            {id 1 pid 124 generation 1 state idle active 0 served 3 uptime 5000 rss 9000000
                waitmean 11.0}
            {id 2 pid 125 generation 1 state busy active 1 served 6 uptime 61000 rss 900
                waitmean {}}
        }
    } {*}$args]
}

oo::class create FakePool {
    # calls: what was called; callbacks: those of reload and upgrade that are not done
    # fail: methods that throw
    variable stats calls callbacks fail

    constructor {args} {
        set stats [stats {*}$args]
        set calls {}
        set callbacks {}
        set fail {}
    }

    method set {key value} {
        dict set stats $key $value
    }

    method failing {args} {
        set fail $args
    }

    method calls {} {
        return $calls
    }

    # Ends the oldest reload or upgrade.
    method done {args} {
        set callbacks [lassign $callbacks cmd]
        uplevel #0 [list {*}$cmd {*}$args]
    }

    method pending {} {
        return [llength $callbacks]
    }

    method stats {} {
        return $stats
    }

    method state {} {
        return [dict get $stats state]
    }

    method Note {name arguments} {
        if {$name in $fail} {
            throw {SOCKETSERVER STATE running} "couldn't $name:\nthe pool\n\nis busy"
        }
        lappend calls [list $name {*}$arguments]
    }

    method Start {name arguments} {
        my Note $name [dict remove $arguments -command]
        if {[dict exists $arguments -command]} {
            lappend callbacks [dict get $arguments -command]
        }
    }

    method reload {args} {
        my Start reload $args
    }

    method upgrade {args} {
        my Start upgrade $args
    }

    method scale {number} {
        my Note scale [list $number]
        dict set stats wanted 7
        return 7
    }

    method stop {args} {
        my Note stop $args
    }

    foreach {name state} {drain draining pause paused resume running} {
        method $name {} "my Note $name {}; dict set stats state $state"
    }
}

proc collect {channel} {
    chan configure $channel -blocking 0
    set ::got($channel) ""
    chan event $channel readable [list collected $channel]
}

proc collected {channel} {
    if {[catch {append ::got($channel) [read $channel]}] || [eof $channel]} {
        append ::got($channel) <eof>
        chan event $channel readable {}
    }
}

proc say {channel text} {
    puts -nonewline $channel $text
    flush $channel
}

proc outputOf {args} {
    set channel [open |[list {*}$args 2>@1]]
    chan configure $channel -translation binary ;# any bytes may come
    collect $channel
    waitFor 120000 {[string match *<eof> $::got($channel)]}
    chan configure $channel -blocking 1
    catch {close $channel}
    return [string range $::got($channel) 0 end-5]
}
