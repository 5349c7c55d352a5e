# Random orders that can be had again.

# The list in an order that the seed decides. With numbers of its own: programs that
# have the same seed shall not have the same rand() as well.
proc shuffled {list seed} {
    set most 2147483647
    set state [expr {1 + abs($seed) % ($most - 1)}]
    set order {}
    while {$list ne {}} {
        set state [expr {$state * 16807 % $most}]
        set at [expr {$state % [llength $list]}]
        lappend order [lindex $list $at]
        set list [lreplace $list $at $at]
    }
    return $order
}
