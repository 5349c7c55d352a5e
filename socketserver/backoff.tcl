# socketserver/backoff.tcl --
#
#   When a failed worker is replaced: after a delay that doubles with each failure
#   in a row. The caller tells the time, in milliseconds.

oo::class create socketserver::Backoff {
    # failures   in a row
    # due        no worker is started before this time
    variable failures due

    constructor {} {
        my succeeded
    }

    method succeeded {} {
        set failures 0
        set due 0
    }

    # delays: {first longest}
    method failed {delays now} {
        lassign $delays first longest
        set delay [expr {min($longest, $first * 2 ** min($failures, 30))}]
        incr failures
        set due [expr {$now + $delay}]
        return $delay
    }

    method failures {} {
        return $failures
    }

    method wait {now} {
        return [expr {max(0, $due - $now)}]
    }
}
