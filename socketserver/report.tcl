# socketserver/report.tcl --
#
#   What a pool's stats say, for people and for programs: tables, JSON, and
#   Prometheus' text format. From a dict to a text, no I/O. What the dict lacks
#   is left out, so a newer program can read an older pool.

package require json::write

namespace eval socketserver::report {
    # Which values are text, even if they look like numbers.
    variable texts {
        pool {name state mode lasterror paused}
        listener {endpoint address}
        worker {state}
        counts {}
    }
    # What the values that are no plain ones hold: dicts of counts, lists of dicts.
    variable dicts {exits refusals}
    variable lists {listeners listener workers worker}

    # The metrics of a pool and of a worker: key of the value, name, type, factor
    # that makes base units of it, help.
    variable poolMetrics {
        uptime uptime_seconds gauge 1e-3 {Time since the pool was started.}
        generation generation gauge 1 {Number of the application's load that serves.}
        reloads reloads_total counter 1 {Times that the application was loaded anew.}
        wanted workers_wanted gauge 1 {Workers that there should be.}
        alive workers_alive gauge 1 {Worker processes.}
        booting workers_booting gauge 1 {Workers that are not ready yet.}
        ready workers_ready gauge 1 {Workers that take connections.}
        idle workers_idle gauge 1 {Workers that wait for a connection.}
        busy workers_busy gauge 1 {Workers that serve a connection.}
        retiring workers_retiring gauge 1 {Workers that finish what they have.}
        spawned workers_spawned_total counter 1 {Workers that were started.}
        accepted connections_accepted_total counter 1 {Connections accepted.}
        served connections_served_total counter 1 {Connections served to their end.}
        refused connections_refused_total counter 1 {Connections refused.}
        redelivered connections_redelivered_total counter 1
        {Connections that a worker gave back and another one got.}
        cut connections_cut_total counter 1 {Connections that were lost with their worker.}
        accepterrors accept_errors_total counter 1 {Failures to accept.}
        queued connections_queued gauge 1 {Connections that wait for a worker.}
        active connections_active gauge 1 {Connections that are being served.}
        waitmean queue_wait_mean_seconds gauge 1e-6 {Mean time in the queue.}
        waitp50 queue_wait_p50_seconds gauge 1e-6 {Half wait no longer in the queue.}
        waitp99 queue_wait_p99_seconds gauge 1e-6 {99 of 100 wait no longer in the queue.}
        rss resident_memory_bytes gauge 1 {Resident memory of the parent process.}
    }
    variable workerMetrics {
        active worker_connections_active gauge 1 {Connections that the worker is serving.}
        served worker_connections_served_total counter 1 {Connections the worker has served.}
        uptime worker_uptime_seconds gauge 1e-3 {Time since the worker was started.}
        rss worker_resident_memory_bytes gauge 1 {Resident memory of the worker.}
        waitmean worker_queue_wait_mean_seconds gauge 1e-6
        {Mean time in the queue of what the worker took.}
    }
    variable states {
        new starting running paused draining drained stopping stopped failed
    }
}

# ---- for people ----------------------------------------------------------------------

# socketserver::report::Table stats --
#
#   The pool, its listeners and its workers.

proc socketserver::report::Table {stats} {
    set lines [list [Headline $stats] {*}[Facts $stats]]
    lappend lines {*}[Listeners $stats] [Workers $stats]
    return [join $lines \n]
}

# socketserver::report::Workers stats --

proc socketserver::report::Workers {stats} {
    return [Columns {worker pid gen state active served uptime rss wait} \
        [lmap worker [Items $stats workers] {
            list [Value $worker id] [Value $worker pid] [Value $worker generation] \
                [Value $worker state] [Value $worker active] [Value $worker served] \
                [Duration [Value $worker uptime]] [Size [Value $worker rss]] \
                [Wait [Value $worker waitmean]]
        }]]
}

# socketserver::report::Lines stats --
#
#   A line "key value" for each value there is. No key has a blank in it.

proc socketserver::report::Lines {stats} {
    return [join [lmap {key value} [Flat $stats] {
        string trimright "$key [Printable $value]"
    }] \n]
}

# socketserver::report::Top stats before seconds --
#
#   The same as a table for a screen, with rates: `before` is what the stats
#   were so many seconds ago. If it is empty, the rates are those since the start.

proc socketserver::report::Top {stats before seconds} {
    set were [dict create]
    foreach worker [Items $before workers] {
        dict set were [dict get $worker id] $worker
    }
    set rows [lmap worker [Items $stats workers] {
        set was ""
        if {[dict exists $were [dict get $worker id]]} {
            set was [dict get $were [dict get $worker id]]
        }
        list [Value $worker id] [Value $worker pid] [Value $worker generation] \
            [Value $worker state] [Value $worker active] [Value $worker served] \
            [Rate served $worker $was $seconds] [Size [Value $worker rss]] \
            [Duration [Value $worker uptime]]
    }]
    set rates [lmap {key word} {accepted accepted served served refused refused} {
        string cat "[Value $stats $key] $word ([Rate $key $stats $before $seconds]/s)"
    }]
    return [join [list [Headline $stats] [Fact workers [WorkerCounts $stats]] \
        [Fact connections "[join $rates {, }], [Value $stats active] active,\
            [Value $stats queued] queued"] \
        [Fact wait "[Waits $stats]; memory [Size [Value $stats rss]]"] {*}[Trouble $stats] \
        [Columns {worker pid gen state active served req/s rss uptime} $rows]] \n]
}

proc socketserver::report::Headline {stats} {
    set state [Value $stats state]
    if {[Value $stats paused] ni {- start user drain}} {
        append state " (accepting rests: [Printable [Value $stats paused]])"
    }
    return "[Printable [Value $stats name]]: $state, [Value $stats mode],\
        pid [Value $stats pid], generation [Value $stats generation],\
        up [Duration [Value $stats uptime]]"
}

proc socketserver::report::Facts {stats} {
    return [list [Fact workers "[WorkerCounts $stats], [Value $stats spawned] spawned"] \
        [Fact connections "[Counts $stats {active queued accepted served refused}]"] \
        [Fact failures "[Counts $stats {redelivered cut}],\
            [Value $stats accepterrors] accept errors, [Value $stats reloads] reloads"] \
        [Fact wait [Waits $stats]] [Fact memory [Size [Value $stats rss]]] {*}[Trouble $stats]]
}

# Only what has happened.
proc socketserver::report::Trouble {stats} {
    set lines {}
    foreach {key title} {refusals refused exits exits} {
        set counts [lmap {reason count} [Items $stats $key] {
            string cat "[Printable $reason] $count"
        }]
        if {[llength $counts] > 0} {
            lappend lines [Fact $title [join $counts {, }]]
        }
    }
    if {[Value $stats lasterror] ne "-"} {
        set message [Printable [lindex [split [dict get $stats lasterror] \n] 0]]
        lappend lines [Fact "last error" [string range $message 0 299]]
    }
    return $lines
}

proc socketserver::report::Listeners {stats} {
    set rows [lmap listener [Items $stats listeners] {
        list [Printable [Value $listener endpoint]] \
            [Printable [Address [Value $listener address]]]
    }]
    if {[llength $rows] == 0} {
        return {}
    }
    return [list [Columns {listener address} $rows]]
}

proc socketserver::report::WorkerCounts {stats} {
    return [Counts $stats {wanted alive idle busy booting retiring}]
}

proc socketserver::report::Counts {stats keys} {
    return [join [lmap key $keys {string cat "[Value $stats $key] $key"}] {, }]
}

proc socketserver::report::Waits {stats} {
    return "mean [Wait [Value $stats waitmean]], half below [Wait [Value $stats waitp50]],\
        99 % below [Wait [Value $stats waitp99]]"
}

proc socketserver::report::Fact {title text} {
    return [format "%-12s %s" $title $text]
}

# Text to the left, all else, as numbers are, to the right.
proc socketserver::report::Columns {titles rows} {
    set rows [list [lmap title $titles {string toupper $title}] {*}$rows]
    set format ""
    set last [expr {[llength $titles] - 1}]
    for {set column 0} {$column <= $last} {incr column} {
        set width [tcl::mathfunc::max {*}[lmap row $rows {
            string length [lindex $row $column]
        }]]
        set isText [expr {[lindex $titles $column] in {listener address state}}]
        append format "  %[expr {$isText ? "-" : ""}]${width}s"
    }
    return [join [lmap row $rows {
        string trimright [string range [format $format {*}$row] 2 end]
    }] \n]
}

# ---- values --------------------------------------------------------------------------

proc socketserver::report::Value {dict key} {
    if {![dict exists $dict $key] || [dict get $dict $key] eq ""} {
        return "-"
    }
    return [dict get $dict $key]
}

proc socketserver::report::Items {dict key} {
    return [expr {[dict exists $dict $key] ? [dict get $dict $key] : {}}]
}

# A socket's name as [chan configure -sockname] tells it, in the form of an endpoint.
proc socketserver::report::Address {name} {
    if {[catch {llength $name} words] || $words < 3 || $words % 3 != 0} {
        return $name
    }
    return [join [lmap {address host port} $name {
        string cat [expr {[string match *:* $address] ? "\[$address\]" : $address}] : $port
    }]]
}

# What a terminal would obey is shown as its code; a line stays one line.
proc socketserver::report::Printable {text} {
    if {![regexp {[[:cntrl:]]} $text]} {
        return $text
    }
    set printable ""
    foreach character [split [string map {\r\n " " \n " "} $text] {}] {
        if {[regexp {[[:cntrl:]]} $character]} {
            set character [format {\x%02x} [scan $character %c]]
        }
        append printable $character
    }
    return $printable
}

proc socketserver::report::Duration {ms} {
    if {$ms eq "-"} {
        return -
    }
    set seconds [expr {int($ms) / 1000}]
    foreach {unit size smaller each} {d 86400 h 3600 h 3600 m 60 m 60 s 1} {
        if {$seconds >= $size} {
            return [format %d%s%02d%s [expr {$seconds / $size}] $unit \
                [expr {$seconds % $size / $each}] $smaller]
        }
    }
    return ${seconds}s
}

proc socketserver::report::Size {bytes} {
    if {$bytes eq "-"} {
        return -
    }
    foreach unit {B K M G} {
        if {$bytes < 1024 || $unit eq "G"} {
            break
        }
        set bytes [expr {$bytes / 1024.0}]
    }
    return [format [expr {$unit eq "B" ? "%d%s" : "%.1f%s"}] $bytes $unit]
}

# From microseconds.
proc socketserver::report::Wait {time} {
    if {$time eq "-"} {
        return -
    }
    foreach unit {us ms s} {
        if {$time < 1000 || $unit eq "s"} {
            break
        }
        set time [expr {$time / 1000.0}]
    }
    return [format %.4g%s $time $unit]
}

# By the second. A value that has become smaller is another process's.
proc socketserver::report::Rate {key now before seconds} {
    if {![dict exists $now $key]} {
        return -
    }
    set grown [dict get $now $key]
    if {[dict exists $before $key] && [dict get $before pid] == [dict get $now pid]} {
        set grown [expr {$grown - [dict get $before $key]}]
    } else {
        set seconds [expr {[Value $now uptime] / 1000.0}]
    }
    return [format %.1f [expr {$seconds > 0 ? $grown / double($seconds) : 0}]]
}

# Lists get the number of the element, workers their id.
proc socketserver::report::Flat {stats} {
    variable dicts
    variable lists
    set flat {}
    dict for {key value} $stats {
        if {$key in $dicts} {
            dict for {name count} $value {
                lappend flat $key.[regsub -all {\s} [Printable $name] _] $count
            }
        } elseif {[dict exists $lists $key]} {
            set number 0
            foreach item $value {
                incr number
                set id [expr {[dict exists $item id] ? [dict get $item id] : $number}]
                dict for {name one} $item {
                    set one [expr {$name eq "address" ? [Address $one] : $one}]
                    lappend flat [dict get $lists $key].$id.$name $one
                }
            }
        } else {
            lappend flat $key $value
        }
    }
    return $flat
}

# ---- JSON ----------------------------------------------------------------------------

# socketserver::report::Json stats ?-indent? --
#
#   On one line, or on many.

proc socketserver::report::Json {stats {option ""}} {
    set before [list [json::write indented] [json::write aligned]]
    json::write indented [expr {$option eq "-indent"}]
    json::write aligned 0
    try {
        return [JsonObject pool $stats]
    } finally {
        json::write indented [lindex $before 0]
        json::write aligned [lindex $before 1]
    }
}

proc socketserver::report::JsonObject {kind dict} {
    variable dicts
    variable lists
    set members {}
    dict for {key value} $dict {
        if {$kind eq "pool" && $key in $dicts} {
            set value [JsonObject counts $value]
        } elseif {$kind eq "pool" && [dict exists $lists $key]} {
            set value [json::write array {*}[lmap item $value {
                JsonObject [dict get $lists $key] $item
            }]]
        } else {
            set value [JsonValue $kind $key $value]
        }
        lappend members $key $value
    }
    return [json::write object {*}$members]
}

# JSON has fewer numbers than Tcl.
proc socketserver::report::JsonValue {kind key value} {
    variable texts
    if {$key in [dict get $texts $kind]} {
        return [json::write string [expr {$key eq "address" ? [Address $value] : $value}]]
    }
    if {$value eq ""} {
        return null
    }
    if {[regexp {^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$} $value]} {
        return $value
    }
    return [json::write string $value]
}

# ---- Prometheus ----------------------------------------------------------------------

# socketserver::report::Prometheus stats --
#
#   Text exposition format 0.0.4.

proc socketserver::report::Prometheus {stats} {
    variable poolMetrics
    variable workerMetrics
    variable states
    set pool [list pool [Value $stats name]]
    set text [Family state gauge "1 for the state that the pool is in." [lmap state $states {
        list [list {*}$pool state $state] [expr {[Value $stats state] eq $state}]
    }]]
    append text [Family paused gauge "1 while accepting rests." \
        [list [list $pool [expr {[Value $stats paused] ne "-"}]]]]
    foreach {key name type factor help} $poolMetrics {
        append text [Family $name $type $help [Samples $pool $key $factor $stats]]
    }
    foreach {key name help} {
        refusals refusals_total "Connections refused, by reason."
        exits worker_exits_total "Workers that ended, by reason."
    } {
        append text [Family $name counter $help [lmap {reason count} [Items $stats $key] {
            list [list {*}$pool reason $reason] $count
        }]]
    }
    append text [Family worker_info gauge "1 for each worker." [lmap worker [Items $stats workers] {
        list [list {*}[WorkerLabels $pool $worker] pid [Value $worker pid] \
            generation [Value $worker generation] state [Value $worker state]] 1
    }]]
    foreach {key name type factor help} $workerMetrics {
        append text [Family $name $type $help [concat {*}[lmap worker [Items $stats workers] {
            Samples [WorkerLabels $pool $worker] $key $factor $worker
        }]]]
    }
    return $text
}

proc socketserver::report::WorkerLabels {pool worker} {
    return [list {*}$pool worker [Value $worker id]]
}

# A list of {labels value}, empty if there is no such value.
proc socketserver::report::Samples {labels key factor dict} {
    set value [Value $dict $key]
    if {$value eq "-"} {
        return {}
    }
    return [list [list $labels [expr {$factor == 1 ? $value : [format %.9g [expr {
        $value * $factor
    }]]}]]]
}

proc socketserver::report::Family {name type help samples} {
    if {[llength $samples] == 0} {
        return ""
    }
    set text "# HELP socketserver_$name $help\n# TYPE socketserver_$name $type\n"
    foreach sample $samples {
        lassign $sample labels value
        set pairs [lmap {label word} $labels {string cat $label=\" [Escape $word] \"}]
        append text "socketserver_$name{[join $pairs ,]} $value\n"
    }
    return $text
}

proc socketserver::report::Escape {value} {
    return [string map {\\ \\\\ \" \\\" \n \\n} $value]
}
