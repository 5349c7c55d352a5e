# Helpers of the suites that run a whole socketserver. Index:
#
#   startServer ?PREFIX? ?SCRIPT?  starts a parent in a program of its own, under
#                          another program (setpriv, prlimit); SCRIPT is run in it
#                          first. The name of its control channel.
#   ask SERVER SCRIPT      evaluates SCRIPT in the parent: its result or its error
#   addWorker SERVER ?SCRIPT?
#                          forks a worker that runs SCRIPT: its pid
#   workersOf SERVER       pids of its workers
#   stopServer SERVER      ends parent and workers
#   infoOf SERVER KEY ...  values of "socketserver::socket info" in the parent
#   connectTo PORT ?HOST?  a client's channel, line buffered, not blocking
#   talk PORT LINE ?HOST?  connects, sends a line: the answer
#   hurry CHANNEL LINE     sends a line on such a channel: the answer
#   isListening PORT       whether any process listens on a TCP port
#   isGone PID             whether a process has ended
#   wakeups PID            waits until a process sleeps: {times that it slept, clock in ms}
#   sleeps PID WAS         whether it has slept since that: a look at its parent each
#                          second is allowed
#   anotherUser            a setpriv prefix: a user that no other test runs as
#
# In parent and workers:
#
#   worker SCRIPT          forks one; by `forkCmd`
#   answer CHANNEL         a handler: reads a line, answers "PID LINE", asks for
#                          the next connection
#   errors                 messages of background errors so far

package require socketserver

set ::serverScript {
    package require socketserver

    set forkCmd unix_process::fork
    set errors {}
    interp bgerror {} [list apply {{message options} {lappend ::errors $message}}]

    proc worker {script} {
        set pid [uplevel #0 $::forkCmd]
        if {$pid == 0} {
            chan event stdin readable {}
            uplevel #0 $script
            vwait forever
        }
        return $pid
    }

    proc answer {channel} {
        gets $channel line
        puts $channel "[pid] $line"
        close $channel
        socketserver::socket client answer
    }

    # One request may span lines, one answer is one line.
    set request ""
    proc control {} {
        if {[gets stdin line] < 0} {
            if {[eof stdin]} {
                exit
            }
            return
        }
        append ::request $line \n
        if {![info complete $::request]} {
            return
        }
        set script $::request
        set ::request ""
        set code [catch {uplevel #0 $script} result]
        puts [string map {\\ \\\\ \n \\n} [list $code $result]]
        flush stdout
    }
    chan configure stdin -blocking 0
    chan event stdin readable control
}

proc startServer {{prefix {}} {script {}}} {
    return [spawnWith $prefix "$::serverScript\n$script\nvwait forever"]
}

proc ask {server script} {
    puts $server [list uplevel #0 $script]
    flush $server
    set line [lineFrom $server]
    if {$line eq ""} {
        return -code error "the server has gone"
    }
    lassign [string map {\\\\ \\ \\n \n} $line] code result
    return -code $code $result
}

proc addWorker {server {script {socketserver::socket client answer}}} {
    return [ask $server [list worker $script]]
}

proc workersOf {server} {
    set pid [spawnPid $server]
    if {[catch {procFile /proc/$pid/task/$pid/children} pids]} {
        return {}
    }
    return [lsort -integer $pids]
}

proc stopServer {server} {
    set pids [workersOf $server]
    reap $server
    foreach pid $pids {
        catch {unix_process::kill $pid KILL}
    }
    foreach pid $pids {
        pollFor 30000 {[isGone $pid]}
    }
    return
}

proc infoOf {server args} {
    set info [ask $server {socketserver::socket info}]
    return [lmap key $args {dict get $info $key}]
}

proc connectTo {port {host 127.0.0.1}} {
    set channel [socket $host $port]
    chan configure $channel -buffering line -blocking 0
    return $channel
}

proc hurry {channel line} {
    puts $channel $line
    return [lineFrom $channel]
}

proc talk {port line {host 127.0.0.1}} {
    set channel [connectTo $port $host]
    try {
        return [hurry $channel $line]
    } finally {
        close $channel
    }
}

# Not by trying to bind it: a port that has just become free may be given to
# anybody's next connection.
proc isListening {port} {
    set pattern [format {:%04X [0-9A-F]+:0000 0A } $port]
    foreach path {/proc/net/tcp /proc/net/tcp6} {
        if {[catch {open $path} file]} {
            continue
        }
        set found [regexp $pattern [read $file]]
        close $file
        if {$found} {
            return 1
        }
    }
    return 0
}

# A zombie counts, but not while other threads of it still hold descriptors.
proc isGone {pid} {
    if {[catch {open /proc/$pid/stat} file]} {
        return 1
    }
    set gone [expr {[catch {read $file} stat] || [regexp {\) Z} $stat]}]
    close $file
    return [expr {$gone && [llength [glob -nocomplain /proc/$pid/task/*]] <= 1}]
}

proc wakeups {pid} {
    pollFor 60000 {[regexp {\nState:\s*S.*\nvoluntary_ctxt_switches:\s*(\d+)} \
        [StatusOf $pid] -> count]}
    return [list $count [clock milliseconds]]
}

proc StatusOf {pid} {
    return [procFile /proc/$pid/status]
}

# One that is about to sleep is shown as asleep a moment before it is counted.
proc sleeps {pid was} {
    lassign $was countBefore msBefore
    lassign [wakeups $pid] count ms
    return [expr {$count - $countBefore <= 2 + ($ms - $msBefore) / 1000}]
}

# Some of the kernel's limits count for a user, over all processes.
proc anotherUser {} {
    set uid [expr {100000 + [pid] * 10 + [incr ::anotherUser]}]
    return [list setpriv --reuid=$uid --regid=65534 --clear-groups]
}

# Many clients: connects them all, prints a line, waits for one, and then lets
# each send its number. Prints {answers wrongAnswers {pid count ...}}.
set ::manyClients {
    lassign $argv port number
    for {set i 0} {$i < $number} {incr i} {
        lappend channels [socket 127.0.0.1 $port]
    }
    puts connected
    flush stdout
    gets stdin
    foreach channel $channels {
        puts $channel "client [incr count]"
        flush $channel
    }
    set answers 0
    set wrong 0
    set count 0
    foreach channel $channels {
        incr count
        if {[gets $channel line] < 0 || ![regexp {^(\d+) client (\d+)$} $line -> pid got]
                || $got != $count || [read $channel] ne ""} {
            incr wrong
        } else {
            incr answers
            dict incr by $pid
        }
        close $channel
    }
    puts [list $answers $wrong $by]
}
