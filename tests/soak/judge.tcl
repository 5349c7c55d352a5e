# What is too much, in numbers that were measured again and again, always at rest.

namespace eval soak {
    # Kilobytes, and a share, that a process may have more in the last quarter of the
    # time than in the second: heaps go on filling their gaps for a while.
    variable tolerance 1024
    variable toleranceShare 0.05
    # So few numbers say nothing, nor do those of fewer seconds.
    variable fewest 8
    variable shortest 600
}

proc soak::median {values} {
    return [lindex [lsort -real $values] [expr {[llength $values] / 2}]]
}

# The nearest that is not below this share of all.
proc soak::percentile {values share} {
    set sorted [lsort -real $values]
    return [lindex $sorted [expr {int(ceil($share * [llength $sorted])) - 1}]]
}

# {before after}: the medians of the second quarter and of the last; empty if there are too
# few numbers. In the first quarter caches fill, and heaps get the size that they need.
proc soak::quarters {values} {
    variable fewest
    set count [llength $values]
    if {$count < $fewest} {
        return ""
    }
    return [list [median [lrange $values [expr {$count / 4}] [expr {$count / 2 - 1}]]] \
        [median [lrange $values [expr {$count - $count / 4}] end]]]
}

# Whether kilobytes have grown.
proc soak::grows {values} {
    variable tolerance
    variable toleranceShare
    lassign [quarters $values] before after
    return [expr {$before ne "" &&
        $after > $before + max($tolerance, $toleranceShare * $before)}]
}

# Whether samples tell of growing memory.
proc soak::isLong {samples} {
    variable shortest
    return [expr {$samples ne "" && [dict get [lindex $samples end] time] >= $shortest}]
}

# What has grown of samples {time S quiet B kinds {KIND {count N fds N rss N ...}}}: sentences.
proc soak::growth {samples} {
    set found {}
    set quiet [lmap sample $samples {
        expr {[dict get $sample quiet] ? [dict get $sample kinds] : [continue]}
    }]
    foreach kind [KindsIn $quiet] {
        set sizes [lmap kinds $quiet {
            expr {[dict exists $kinds $kind] ? [dict get $kinds $kind] :
                {count 0 fds 0 rss 0 pss 0}}
        }]
        foreach {what name} {count processes fds descriptors} {
            set amounts [lmap size $sizes {dict get $size $what}]
            if {[llength [lsort -unique $amounts]] > 1} {
                lappend found "$kind: not always the same $name at rest: [join $amounts {, }]"
            }
        }
        set each [memoryOf $sizes]
        if {[isLong $samples] && [grows $each]} {
            lappend found "$kind: memory has grown from [lindex [quarters $each] 0] to\
                [lindex [quarters $each] 1] kB"
        }
    }
    return $found
}

proc soak::KindsIn {quiet} {
    return [dict keys [dict merge {*}$quiet]]
}

# Kilobytes of a process, on average.
proc soak::memoryOf {sizes} {
    return [lmap size $sizes {
        expr {[dict get $size rss] / max(1, [dict get $size count])}
    }]
}
