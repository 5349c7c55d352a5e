# socketserver/table.tcl --
#
#   What the parent knows of its workers. Pure data: it answers questions, the
#   pool acts.

oo::class create socketserver::Table {
    # rows: number -> dict
    #   pid         0 until it is forked
    #   generation  object that forked it
    #   link        forkserver::Link to it; empty until it is forked
    #   state       booting, ready, retiring
    #   started     when it was asked for, in milliseconds
    #   readyAt     when it became ready; 0 before
    #   deadline    when it is killed if it is still in this state; 0: never
    #   reason      why it retires, or why the pool killed it; empty otherwise
    #   killed      the pool has killed it
    #   timeout     its -timeout
    #   error       what it said of its failure to start
    #   endedAt     when its link ended; 0 before
    #   life        turns readable when it ends, if its fork server cannot tell
    variable rows

    constructor {} {
        set rows [dict create]
    }

    # Numbers are small, and given again: they are the slots of the scoreboard.
    method add {generation now deadline timeout} {
        for {set number 1} {[dict exists $rows $number]} {incr number} {}
        dict set rows $number [dict create pid 0 generation $generation link {} state booting \
            started $now readyAt 0 deadline $deadline reason {} killed 0 \
            timeout $timeout error {} endedAt 0 life {}]
        return $number
    }

    method remove {number} {
        dict unset rows $number
    }

    method exists {number} {
        return [dict exists $rows $number]
    }

    method get {number field} {
        return [dict get $rows $number $field]
    }

    method set {number args} {
        foreach {field value} $args {
            dict set rows $number $field $value
        }
    }

    # Numbers of the workers in one of these states; of all without any.
    method numbers {args} {
        if {[llength $args] == 0} {
            return [lsort -integer [dict keys $rows]]
        }
        set numbers {}
        dict for {number row} $rows {
            if {[dict get $row state] in $args} {
                lappend numbers $number
            }
        }
        return [lsort -integer $numbers]
    }

    method count {args} {
        if {[llength $args] == 0} {
            return [dict size $rows]
        }
        return [llength [my numbers {*}$args]]
    }

    # Those in one of these states that this generation has forked.
    method ofGeneration {generation args} {
        return [lmap number [my numbers {*}$args] {
            if {[my get $number generation] ne $generation} continue
            set number
        }]
    }

    # Those that have been in their state for too long.
    method overdue {now} {
        return [lmap number [my numbers] {
            set deadline [my get $number deadline]
            if {$deadline == 0 || $now < $deadline || [my get $number killed]} continue
            set number
        }]
    }

    # Which of some workers to end first when there are too many: those that are not
    # ready yet, then those that serve the fewest, the latest first.
    # active: number -> connections
    method surplus {count candidates active} {
        set ranked [lsort -command [list [self] Compare $active] $candidates]
        return [lrange $ranked 0 $count-1]
    }

    method Compare {active a b} {
        set rank [lmap number [list $a $b] {
            list [expr {[my get $number state] eq "ready"}] \
                [expr {[dict exists $active $number] ? [dict get $active $number] : 0}] \
                [expr {-$number}]
        }]
        foreach left [lindex $rank 0] right [lindex $rank 1] {
            if {$left != $right} {
                return [expr {$left < $right ? -1 : 1}]
            }
        }
        return 0
    }
    export Compare
}
