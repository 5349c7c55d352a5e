# socketserver/bucket.tcl --
#
#   A token bucket, for -maxrate: {n seconds} lets n connections through at once,
#   and n more in each period. The caller tells the time, in milliseconds.

oo::class create socketserver::Bucket {
    variable most perMs tokens filled

    constructor {rate now} {
        lassign $rate most seconds
        set perMs [expr {$most / ($seconds * 1000.0)}]
        set tokens $most
        set filled $now
    }

    # How many may come now.
    method available {now} {
        set tokens [expr {min($most, $tokens + ($now - $filled) * $perMs)}]
        set filled $now
        return [expr {int($tokens)}]
    }

    method use {count} {
        set tokens [expr {$tokens - $count}]
    }

    # Milliseconds until one may come.
    method wait {now} {
        if {[my available $now] >= 1} {
            return 0
        }
        return [expr {int(ceil((1 - $tokens) / $perMs))}]
    }
}
