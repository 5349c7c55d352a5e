# What tests/faults.tcl runs with faults. Each scenario stands alone, takes milliseconds,
# and checks what it gets. Scripts run at the top level, in a process of their own.

namespace import -force ::faults::scenario

# ---- what several of them use --------------------------------------------------------

# A handler that answers one line. It closes in any case, as a server should.
proc serveLine {channel args} {
    chan configure $channel -blocking 0 -translation lf
    chan event $channel readable [list answerLine $channel]
}

proc answerLine {channel} {
    set over 1
    try {
        if {[gets $channel line] >= 0} {
            puts $channel "got $line"
        } else {
            set over [eof $channel]
        }
    } finally {
        if {$over} {
            close $channel
        }
    }
}

proc serveBlocking {channel args} {
    try {
        puts $channel "got [gets $channel]"
    } finally {
        close $channel
    }
}

# Hands off until all have been; rests as a server should.
proc handOff {count listener queue} {
    incr ::handed [unix_sockets::handoff $listener $queue why]
    chan event $listener readable {}
    chan event $queue writable {}
    if {$::handed >= $count} {
        return
    }
    set again [list handOff $count $listener $queue]
    switch -- $why {
        full {
            chan event $queue writable $again
        }
        descriptors - memory - inflight {
            lappend ::noted [list STOPPED $why] ""
            after 20 $again
        }
        default {
            chan event $listener readable $again
        }
    }
}

# The next connection of a queue, which may have none at once.
proc takeFrom {queue} {
    while {[set taken [unix_sockets::take $queue]] eq ""} {
        chan event $queue readable {set ::takeable 1}
        set ::takeable 0
        await {$::takeable}
        chan event $queue readable {}
    }
    return $taken
}

# Waits in slices, so that a signal's callback gets its turn.
proc exitOf {pid} {
    set ::exited($pid) ""
    unix_process::onexit $pid {apply {{pid status} {set ::exited($pid) $status}}}
    await {$::exited($pid) ne ""}
    return $::exited($pid)
}

proc writeFile {path text} {
    set file [open $path w]
    puts -nonewline $file $text
    close $file
    return $path
}

proc readFile {path} {
    set file [open $path]
    set text [read $file]
    close $file
    return $text
}

# A child says how it ended: 7 for an error of its own.
proc childBody {script} {
    interp bgerror {} {apply {{message failure} {unix_process::exit 7}}}
    after 10000 {unix_process::exit 8}
    try {
        uplevel #0 $script
        vwait forever
    } finally {
        unix_process::exit 7
    }
}

proc expectExit {pid} {
    set status [exitOf $pid]
    if {$status eq "exit -1"} {
        throw {POSIX ECHILD} "its status is lost"
    }
    if {$status eq "exit 7"} {
        throw {SCENARIO CHILD} "the child ended with an error"
    }
    same $status "exit 0"
}

# The client's end and the served end of a TCP connection; quietly.
proc tcpPair {} {
    inject::quietly {
        set listener [unix_sockets::listener 127.0.0.1:0]
        set client [socket 127.0.0.1 [lindex [chan configure $listener -sockname] 2]]
        chan configure $client -buffering none -translation binary
        set served ""
        while {$served eq ""} {
            set served [lindex [unix_sockets::accept $listener] 0]
        }
        close $listener
    }
    return [list $client $served]
}

# ---- sockets ----------------------------------------------------------------------------

scenario listen {
    set listener [unix_sockets::listen -permissions 0600 [path listen] serveLine]
    set client [client [path listen] "hello\n"]
    await {[heard $client] ne ""}
    same [heard $client] "answer got hello\n"
    close $listener
}

scenario listen-replace -setup {
    # A socket file that nobody listens on any more.
    set pid [unix_process::fork]
    if {$pid == 0} {
        unix_sockets::listener [path stale]
        unix_process::kill [pid] KILL
    }
    unix_process::wait $pid
} -allow {EAGAIN {UNIX_SOCKETS INUSE *} ENOENT {POSIX EADDRINUSE *}} {
    set listener [unix_sockets::listener -replace stale [path stale]]
    try {
        # A server that answers is not replaced, if connect says that it does.
        set second [unix_sockets::listener -replace stale [path stale]]
        close $second
        set ::replaced 1
    } trap {UNIX_SOCKETS INUSE} {} {
    }
    close $listener
}

scenario listen-tcp {
    set listener [unix_sockets::listener -reuseport 1 -- 0]
    set port [lindex [chan configure $listener -sockname] end]
    # Every address has the same port.
    foreach {- - each} [chan configure $listener -sockname] {
        same $each $port
    }
    inject::quietly {
        set client [socket -async 127.0.0.1 $port]
    }
    chan event $listener readable {
        if {[set connection [unix_sockets::accept $listener]] ne ""} {
            set served $connection
        }
    }
    await {[info exists served]}
    lassign $served channel address
    same $address 127.0.0.1
    puts $channel hello
    close $channel
    same [nextLine $client] hello
    close $client
    close $listener
}

scenario connect -setup {
    set listener [unix_sockets::listener [path connect]]
} {
    set channel [unix_sockets::connect -timeout 200 [path connect]]
    puts $channel hello
    flush $channel
    inject::quietly {
        lassign [unix_sockets::accept $listener] served
    }
    same [nextLine $served] hello
    chan configure $served -blocking 1
    puts $served bye
    close $served
    same [nextLine $channel] bye
    close $channel
}

# With a backlog that is full at first.
scenario connect-async -setup {
    set listener [unix_sockets::listener -backlog 0 [path async]]
    set first [unix_sockets::connect [path async]]
} -allow {{EAGAIN} {POSIX ETIMEDOUT *}} {
    set second [unix_sockets::connect -async -timeout $patience [path async]]
    chan configure $second -blocking 0 -buffering none
    chan event $second writable {set ready 1}
    inject::quietly {
        close [lindex [unix_sockets::accept $listener] 0]
    }
    await {[info exists ready]}
    chan event $second writable {}
    puts $second hello
    close $second
    close $first
}

scenario options {
    lassign [unix_sockets::pair] a b
    chan configure $a
    same [chan configure $a -type] stream
    same [dict get [chan configure $a -peercred] pid] [pid]
    same [chan configure $a -error] ""
    same [chan configure $a -sockname] ""
    same [chan configure $a -peername] ""
    close $a
    close $b
}

scenario pair {
    lassign [unix_sockets::pair] a b
    puts $a "one\ntwo"
    flush $a
    chan close $a write
    same [gets $b] one
    same [read $b] two\n
    puts $b three
    flush $b
    close $b
    same [read $a] three\n
    close $a
}

# More than a socket holds, with both ends in one event loop.
scenario bulk {
    lassign [unix_sockets::pair] a b
    set sent [string repeat 0123456789 40000]
    chan configure $a -blocking 0 -translation binary
    chan configure $b -blocking 0 -translation binary
    set got ""
    chan event $b readable {
        append got [read $b]
        if {[string length $got] >= [string length $sent] || [eof $b]} {
            chan event $b readable {}
            set over 1
        }
    }
    puts -nonewline $a $sent
    chan event $a writable {
        flush $a ;# tells of what failed in the background
        if {[chan pending output $a] == 0} {
            chan event $a writable {}
        }
    }
    await {[info exists over]}
    same [string length $got] [string length $sent]
    same [string equal $got $sent] 1
    close $a
    close $b
}

# What a blocking channel writes into a socket that is full.
scenario bulk-blocking -setup {
    lassign [unix_sockets::pair] a b
    set sent [string repeat 0123456789 40000]
} -allow {* {SCENARIO CHILD} {ENOMEM ECONNRESET eof} {POSIX EPIPE *}} {
    set pid [unix_process::fork]
    if {$pid == 0} {
        close $a
        childBody {
            chan configure $b -translation binary
            after 5 ;# so that it is full
            set got [read $b]
            unix_process::exit [expr {$got eq $sent ? 0 : [string length $got] < 400000 ? 7 : 9}]
        }
    }
    close $b
    chan configure $a -translation binary
    try {
        puts -nonewline $a $sent
        flush $a
    } finally {
        close $a
    }
    expectExit $pid
}

scenario seqpacket {
    lassign [unix_sockets::pair -type seqpacket] a b
    chan configure $a -buffering none -translation binary
    chan configure $b -blocking 0 -translation binary
    set got {}
    chan event $b readable {
        set record [read $b 100]
        if {$record ne ""} {
            lappend got $record
        } elseif {[eof $b]} {
            chan event $b readable {}
        }
    }
    puts -nonewline $a one
    await {[llength $got] == 1}
    puts -nonewline $a two
    await {[llength $got] == 2}
    same $got {one two}
    close $a
    close $b
}

# ---- descriptors ------------------------------------------------------------------------

scenario sendfd -setup {
    set path [writeFile [path file] content]
} -allow {{ctrunc onefd} {UNIX_SOCKETS TRUNCATED *} eof *} {
    lassign [unix_sockets::pair] a b
    set file [open $path]
    lassign [unix_sockets::pair] c d
    unix_sockets::sendfd $a [list $file $c] note
    close $file
    set names [unix_sockets::recvfd -max 2 $b data]
    while {[string length $data] < 4 && ![eof $b]} {
        append data [read $b [expr {4 - [string length $data]}]]
    }
    same $data note
    same [llength $names] 2
    lassign $names gotFile gotSocket
    same [read $gotFile] content
    puts $gotSocket through
    flush $gotSocket
    same [gets $d] through
    foreach channel [list $gotFile $gotSocket $c $d $a $b] {
        close $channel
    }
}

scenario sendfd-raw -allow {{ctrunc onefd} {UNIX_SOCKETS TRUNCATED *} eof {SCENARIO *}} {
    lassign [unix_sockets::pair] a b
    lassign [chan pipe] reader writer
    chan configure $a -blocking 0
    unix_sockets::sendfd $a $writer
    set numbers [unix_sockets::recvfd -raw $b]
    same [llength $numbers] 1
    close $writer
    set adopted ""
    try {
        set adopted [unix_sockets::adopt [lindex $numbers 0]]
    } finally {
        if {$adopted eq ""} {
            inject::quietly {forkserver::CloseDescriptor [lindex $numbers 0]}
        }
    }
    puts $adopted through
    close $adopted
    same [gets $reader] through
    foreach channel [list $reader $a $b] {
        close $channel
    }
}

# A message of several parts that ordinary reads bring.
scenario passfds -allow {{ctrunc onefd} {UNIX_SOCKETS TRUNCATED *} eof {SCENARIO *}} {
    lassign [unix_sockets::pair] a b
    chan configure $b -passfds 1
    lassign [chan pipe] reader writer
    unix_sockets::sendfd $a [list $reader $writer] "line one\n"
    same [gets $b] "line one"
    set names [unix_sockets::recvfd $b]
    same [llength $names] 2
    foreach channel [concat $names [list $reader $writer $a $b]] {
        close $channel
    }
}

# Data that does not go out in one piece.
scenario sendfd-long -allow {{ctrunc onefd} {UNIX_SOCKETS TRUNCATED *} {eof short} {SCENARIO *}} {
    lassign [unix_sockets::pair] a b
    lassign [chan pipe] reader writer
    set text [string repeat x 30000]
    unix_sockets::sendfd $a $reader $text
    chan configure $b -passfds 1 -translation binary
    same [string length [read $b 30000]] 30000
    close [lindex [unix_sockets::recvfd $b] 0]
    foreach channel [list $reader $writer $a $b] {
        close $channel
    }
}

# What adopt makes of each kind of descriptor.
proc adoptCopy {channel} {
    inject::quietly {
        lassign [unix_sockets::pair] a b
        unix_sockets::sendfd $a $channel
        set number [unix_sockets::recvfd -raw $b]
        close $a
        close $b
    }
    set adopted ""
    try {
        set adopted [unix_sockets::adopt $number]
    } finally {
        if {$adopted eq ""} {
            inject::quietly {forkserver::CloseDescriptor $number}
        }
    }
    return $adopted
}

scenario adopt -setup {
    lassign [tcpPair] client served
    set file [open [writeFile [path adopted] content]]
    set listener [unix_sockets::listener [path adopt]]
} {
    same [read [adoptCopy $file]] content
    set tcp [adoptCopy $served]
    same [string match sock* $tcp] 1
    same [lindex [chan configure $tcp -peername] 0] 127.0.0.1
    set again [adoptCopy $listener]
    same [chan configure $again -sockname] [path adopt]
    same [chan configure $again -type] stream
    inject::quietly {
        close [unix_sockets::connect [path adopt]]
    }
    while {[set accepted [lindex [unix_sockets::accept $again] 0]] eq ""} {
        after 1
    }
    same [gets $accepted] ""
    close $accepted
    close $again
    close $tcp
}

# ---- queue ---------------------------------------------------------------------------

scenario queue -allow {{ctrunc eof} {UNIX_SOCKETS RECORD *} eof {UNIX_SOCKETS CLOSED *}
    * {STOPPED *}} {
    set listener [unix_sockets::listener [path queue]]
    lassign [unix_sockets::queue -size 10] sender receiver
    set both [list [client [path queue] a\n] [client [path queue] b\n]]
    set handed 0
    chan event $listener readable [list handOff 2 $listener $sender]
    await {$handed == 2}
    same [unix_sockets::depth $sender] 2
    chan event $receiver readable {
        set taken [unix_sockets::take $receiver]
        if {$taken ne ""} {
            serveLine {*}$taken
        }
    }
    await {[heard [lindex $both 0]] ne "" && [heard [lindex $both 1]] ne ""}
    same [lsort [lmap client $both {heard $client}]] [list "answer got a\n" "answer got b\n"]
    foreach channel [list $listener $sender $receiver] {
        close $channel
    }
}

# How pools accept: one by one, with a look before; and how they refuse.
scenario look-refuse -allow {{ctrunc eof} {UNIX_SOCKETS *} * {STOPPED *}} {
    set listener [unix_sockets::listener [path look]]
    lassign [unix_sockets::queue] sender receiver
    set first [client [path look] a\n]
    set reason empty
    while {$reason ne "max"} {
        await {[socketserver::Look $listener why] ne "" || $why ni {empty max}}
        if {$why ni {empty max}} {
            throw [list STOPPED $why] "couldn't look"
        }
        set reason [socketserver::HandOffOne $listener $sender 1]
        if {$reason ni {full max}} {
            throw [list STOPPED $reason] "couldn't hand off"
        }
    }
    set second [client [path look] b\n]
    await {[socketserver::Refuse $listener 5 busy why] || $why ne "empty"}
    if {$why ni {empty max}} {
        throw [list STOPPED $why] "couldn't refuse"
    }
    await {[heard $second] ne ""}
    same [expr {[heard $second] in {"answer busy" closed}}] 1
    lassign [takeFrom $receiver] served
    serveBlocking $served
    await {[heard $first] ne ""}
    same [heard $first] "answer got a\n"
}

scenario requeue -setup {
    lassign [tcpPair] client served
} -allow {{ctrunc eof} {UNIX_SOCKETS *}} {
    lassign [unix_sockets::queue] sender receiver
    lassign [unix_sockets::pair] a b
    unix_sockets::sendfd $a $served
    set numbers [unix_sockets::recvfd -raw $b]
    same [llength $numbers] 1
    try {
        socketserver::Requeue $sender [lindex $numbers 0]
    } finally {
        inject::quietly {forkserver::CloseDescriptor [lindex $numbers 0]}
    }
    close $served
    lassign [takeFrom $receiver] taken
    chan configure $taken -translation binary
    puts $taken hello
    close $taken
    same [gets $client] hello
}

# ---- socketserver::socket ------------------------------------------------------------------

# A client of a TCP port, in this process.
proc tcpClient {port} {
    inject::quietly {
        set client [socket -async 127.0.0.1 $port]
        chan configure $client -blocking 0 -buffering line -translation {auto lf}
        puts $client hello
    }
    return $client
}

# Where the parent does not go on accepting, it says why.
proc expectLine {client line} {
    try {
        same [nextLine $client] $line
    } trap {SCENARIO LATE} {message failure} {
        set reason [dict get [socketserver::socket info] reason]
        if {$reason ne ""} {
            throw [list STOPPED $reason] $message
        }
        return -options $failure $message
    }
}

scenario socketserver -allow {{ctrunc eof} {UNIX_SOCKETS *}
    {EMFILE ENFILE ENOMEM ENOBUFS ETOOMANYREFS} {STOPPED *}} {
    set port [socketserver::socket server -host 127.0.0.1 0]
    socketserver::socket client serveLine
    set client [tcpClient $port]
    expectLine $client "got hello"
    socketserver::socket close
    close $client
}

scenario socketserver-worker -allow {{ctrunc eof} {UNIX_SOCKETS *} * {SCENARIO WORKER}
    ctrunc {SCENARIO *}
    {EMFILE ENFILE ENOMEM ENOBUFS ETOOMANYREFS} {STOPPED *}} {
    set port [socketserver::socket server -host 127.0.0.1 0]
    set pid [unix_process::fork]
    if {$pid == 0} {
        childBody {
            socketserver::socket client serveLine
        }
    }
    unix_process::onexit $pid {apply {{pid status} {set ::ended $status}}}
    try {
        set client [tcpClient $port]
        try {
            expectLine $client "got hello"
        } trap SCENARIO {message failure} {
            if {[info exists ended]} {
                throw {SCENARIO WORKER} $ended
            }
            return -options $failure $message
        }
    } finally {
        inject::quietly {
            catch {unix_process::kill $pid KILL}
            catch {unix_process::wait $pid}
        }
    }
    close $client
}

# ---- processes ------------------------------------------------------------------------

scenario fork-wait -allow {ECHILD {SCENARIO *}} {
    set pid [unix_process::fork]
    if {$pid == 0} {
        unix_process::exit 3
    }
    same [unix_process::wait $pid] "exit 3"
}

scenario fork-onexit -allow {ECHILD {SCENARIO *}} -clean {
    catch {unix_process::wait $pid}
} {
    set pid [unix_process::fork]
    if {$pid == 0} {
        unix_process::exit 4
    }
    same [exitOf $pid] "exit 4"
}

scenario fork-kill -clean {
    catch {unix_process::kill $pid KILL}
    catch {unix_process::wait $pid}
} -allow {ECHILD {SCENARIO *}} {
    set pid [unix_process::fork]
    if {$pid == 0} {
        vwait forever
    }
    set watch [unix_process::pidfd $pid]
    chan event $watch readable {set dead 1}
    unix_process::kill $pid TERM
    await {[info exists dead]}
    close $watch
    same [unix_process::wait $pid] "signal SIGTERM"
}

# The event loop of a child, with channels that it inherited.
scenario fork-events -allow {ECHILD {SCENARIO *} * {SCENARIO CHILD} * {SCENARIO END}} -clean {
    catch {unix_process::kill $pid KILL}
    catch {unix_process::wait $pid}
} {
    lassign [unix_sockets::pair] a b
    set pid [unix_process::fork]
    if {$pid == 0} {
        close $a
        childBody {
            chan configure $b -blocking 0 -buffering line
            chan event $b readable {
                if {[gets $b line] >= 0} {
                    puts $b "got $line"
                } elseif {[eof $b]} {
                    unix_process::exit 0
                }
            }
        }
    }
    close $b
    chan configure $a -buffering line
    puts $a hello
    same [nextLine $a] "got hello"
    close $a
    expectExit $pid
}

scenario signals {
    set caught {}
    unix_process::onsignal USR1 {lappend caught}
    unix_process::onsignal HUP {lappend caught}
    unix_process::kill [pid] USR1
    unix_process::kill [pid] HUP
    await {[llength $caught] == 2}
    unix_process::kill [pid] USR1
    await {[llength $caught] == 3}
    same [lsort $caught] {SIGHUP SIGUSR1 SIGUSR1}
    unix_process::onsignal USR1 {}
    unix_process::onsignal HUP {}
}

# Our notifier in this process, with events in events.
scenario notifier {
    unix_process::notifier epoll
    lassign [unix_sockets::pair] a b
    lassign [chan pipe] reader writer
    chan configure $a -blocking 0
    chan configure $b -blocking 0
    chan configure $reader -blocking 0
    set order {}
    chan event $b readable {
        if {[gets $b line] >= 0} {
            chan event $b readable {}
            chan event $reader readable {
                gets $reader
                lappend order inner
                chan event $reader readable {}
            }
            puts $writer x
            flush $writer
            await {"inner" in $order}
            lappend order outer
        } elseif {[eof $b]} {
            chan event $b readable {}
            faults::unlike END "the other end is open"
        }
    }
    puts $a x
    flush $a
    await {[llength $order] == 2}
    same $order {inner outer}
    # A regular file is always ready.
    set file [open [writeFile [path always] x]]
    chan event $file readable {set fileReady 1}
    await {[info exists fileReady]}
    chan event $file readable {}
    after 5 {set timer 1}
    await {[info exists timer]}
    foreach channel [list $a $b $reader $writer $file] {
        close $channel
    }
    unix_process::notifier default
}

# ---- fork server ------------------------------------------------------------------------------

# Its child may be unable to begin, or be reaped by another part of the program.
proc expectStatus {status wanted} {
    if {$status eq "lost"} {
        throw {FORKSERVER LOST} "the fork server is gone"
    }
    if {$status eq "exit -1"} {
        throw {POSIX ECHILD} "its status is lost"
    }
    if {$status ne $wanted && $status eq "exit 1"} {
        throw {SCENARIO CHILD} "the child ended with an error"
    }
    same $status $wanted
}

scenario forkserver -clean {
    catch {$fs destroy}
} -heavy 1 -patience 1000 -allow {* {FORKSERVER LOST*} {ctrunc eof} {FORKSERVER *}
    * {SCENARIO CHILD}} {
    set fs [forkserver::start -onlost {set ::childEnded lost} -preload {
        proc double x {expr {2 * $x}}
    }]
    same [$fs eval {double 4}] 8
    set child [$fs fork -args 5 -onexit {apply {{pid status args} {set ::childEnded $status}}} {
        set socket [forkserver::child socket]
        puts $socket [double [lindex [forkserver::child args] 0]]
        close $socket
    }]
    set socket [dict get $child socket]
    set line [gets $socket]
    close $socket
    await {[info exists childEnded]}
    expectStatus $childEnded "exit 0"
    same $line 10
    $fs stop -wait 1 -timeout 200
}

scenario forkserver-share -clean {
    catch {$other destroy}
    catch {$fs destroy}
} -heavy 1 -patience 1000 -allow {* {FORKSERVER LOST*} {ctrunc onefd eof} {FORKSERVER *}
    {short ECONNRESET} {FORKSERVER READ*} {ctrunc onefd} {UNIX_SOCKETS TRUNCATED *}
    * {SCENARIO CHILD} * {FORKSERVER KILL *}} {
    set fs [forkserver::start]
    lassign [unix_sockets::pair] mine theirs
    $fs share $mine
    set other [forkserver::attach $theirs]
    same [$other eval {expr 1 + 1}] 2
    set child [$other fork {gets [forkserver::child socket]}]
    $other kill [dict get $child pid] TERM
    expectStatus [$other wait [dict get $child pid] -timeout 5000] "signal SIGTERM"
    $other destroy
    $fs stopserver
}

# ---- pools --------------------------------------------------------------------------------

# What it logs tells of what went wrong; a client may be cut with its worker.
proc noteLog {level message} {
    if {$level in {warn error critical}} {
        lappend ::noted [list LOG $level] $message
    }
}

proc servePool {args} {
    set path [path pool[incr ::pools]]
    socketserver::pool create demo -listen unix:$path -handler serve -workers 1 -log noteLog \
        -loglevel warn -backoff {5 10} -boottimeout [expr {2 * $::patience}] \
        -gracetimeout [expr {$::patience / 2}] -preload {
            interp bgerror {} ::tcl::Bgerror ;# not that of the process it comes from
            proc serve {channel args} {
                try {
                    puts $channel "got [gets $channel]"
                } finally {
                    close $channel
                }
            }
        } {*}$args
    demo start
    await {[demo state] eq "running"}
    expectAnswer $path
    return $path
}

proc expectAnswer {path} {
    set client [client $path hello\n]
    try {
        await {[heard $client] ne ""}
    } trap {SCENARIO LATE} {message failure} {
        set reason [dict get [demo stats] paused]
        if {$reason ne ""} {
            throw [list STOPPED $reason] $message
        }
        return -options $failure $message
    }
    if {[heard $client] eq "closed"} {
        catch {await {$::noted ne ""}} ;# the log comes a moment later
    }
    same [heard $client] "answer got hello\n"
}

proc poolScenario {name body} {
    scenario $name -heavy 1 -patience 2000 -clean {
        catch {demo destroy}
    } -allow {* {SOCKETSERVER *} * {FORKSERVER *} * {LOG *} {ctrunc eof} {UNIX_SOCKETS *}
        {EMFILE ENFILE ENOMEM ENOBUFS ETOOMANYREFS} {STOPPED *}} $body
}

poolScenario pool {
    servePool
    demo stop
    await {[demo state] eq "stopped"}
}

poolScenario pool-reload {
    set path [servePool]
    demo reload
    expectAnswer $path
    demo stop
    await {[demo state] eq "stopped"}
}

poolScenario pool-perconnection {
    set path [servePool -mode perconnection -maxpersource 5]
    expectAnswer $path
    demo stop
    await {[demo state] eq "stopped"}
}

# A limit, so that the parent waits for news of its workers.
poolScenario pool-limited {
    set path [servePool -maxconnections 1]
    expectAnswer $path
    expectAnswer $path
    demo stop
    await {[demo state] eq "stopped"}
}

# ---- what a server that runs unattended needs ----------------------------------------------

scenario limits-title -allow {eof {POSIX ENOSYS *}} {
    lassign [unix_process::rlimit nofile] soft hard
    unix_process::rlimit nofile [expr {$soft - 1}]
    same [lindex [unix_process::rlimit nofile] 0] [expr {$soft - 1}]
    set before [unix_process::umask]
    unix_process::umask 027
    same [unix_process::umask] 0027
    unix_process::umask $before
    same [unix_process::title "faults here"] "faults here"
    same [unix_process::title] "faults here"
}

scenario redirect -setup {
    set log [path redirected]
} -allow {* {SCENARIO CHILD}} {
    set pid [unix_process::fork]
    if {$pid == 0} {
        childBody {
            unix_process::Redirect $log
            puts hello
            unix_process::exit 0
        }
    }
    expectExit $pid
    same [readFile $log] hello\n
}

# Only root can; others are told so.
scenario setuser -allow {* {UNIX_PROCESS PRIVILEGES *} {EINVAL EPERM} {UNIX_PROCESS *}
    * {SCENARIO CHILD}} {
    set pid [unix_process::fork]
    if {$pid == 0} {
        childBody {
            unix_process::setuser [expr {[exec id -u] == 0 ? "nobody" : [exec id -un]}]
            set file [open /proc/self/status]
            set wanted [exec id -u]
            # Whatever fails: not half a user.
            same [regexp -line "^Uid:\t$wanted\t$wanted\t$wanted" [read $file]] 1
            unix_process::exit 0
        }
    }
    expectExit $pid
}

scenario pidfile -setup {
    set path [path pidfile]
} -allow {{EAGAIN ENOENT} {UNIX_PROCESS PIDFILE *} short * ENOENT {SCENARIO *}} -clean {
    unix_process::DisownPidFile
} {
    same [unix_process::TakePidFile $path] ""
    same [string trim [readFile $path]] [pid]
    lassign [unix_process::PidFile] held fd
    same $held $path
    unix_process::OwnPidFile
    same [string trim [readFile $path]] [pid]
}

scenario daemon -setup {
    set path [path daemon.pid]
    set log [path daemon.log]
} -heavy 1 -allow {* {UNIX_PROCESS DAEMON *}} {
    set pid [unix_process::daemonize -pidfile $path -stdout $log -stderr $log]
    if {$pid == 0} {
        puts "daemon here"
        unix_process::ready
        exit
    }
    set watch [catch {unix_process::pidfd $pid} channel]
    if {!$watch} {
        chan event $channel readable {set gone 1}
        await {[info exists gone]}
        close $channel
    }
    await {[string match "daemon here*" [readFile $log]]}
}

scenario notify -setup {
    set path [path notify]
    set datagrams [unix_sockets::adopt [inject::datagrams $path]]
    set env(NOTIFY_SOCKET) $path
} {
    same [unix_process::notify READY=1] 1
    same [unix_process::notify -pid [pid] STATUS=fine] 1
    chan configure $datagrams -blocking 0 -translation binary
    set got ""
    await {[append got [read $datagrams 100]] eq "READY=1STATUS=fine"}
}

# ---- connections --------------------------------------------------------------------------

scenario proxy-header -setup {
    lassign [tcpPair] client served
} {
    puts -nonewline $client "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\nhello\n"
    await {[set header [socketserver::ReadProxy $served]] ne "more"}
    same $header {header 192.0.2.1 1000}
    same [nextLine $served] hello
    close $served
    close $client
}

scenario silence -setup {
    lassign [tcpPair] client served
} {
    socketserver::LimitSilence $served 60000
    same [expr {[socketserver::SilentMs $served] >= -1}] 1
    socketserver::LimitSilence $served 0
    socketserver::LimitSilence $served 30
    # One way or the other it does not wait for ever.
    same [catch {gets $served line} count] [expr {$count ne "-1"}]
}

# ---- from one program to the next ---------------------------------------------------------

scenario takeover -setup {
    set path [path takeover]
    set pidFile [path takeover.pid]
} -allow {{ctrunc onefd eof} * {ENOENT EACCES ENOMEM} {SCENARIO *}
    {EAGAIN ENOENT} {UNIX_PROCESS PIDFILE *}} -clean {
    unix_process::DisownPidFile
} {
    lassign [unix_sockets::pair] old new
    set listener [unix_sockets::listener $path]
    same [unix_process::TakePidFile $pidFile] ""
    lassign [unix_process::PidFile] - lock
    unix_sockets::sendfd $old [list {*}[socketserver::ListenerSockets $listener] $lock]
    set file [unix_sockets::DisownFile $listener]
    same [llength $file] 3
    set numbers [unix_sockets::recvfd -raw -max 2 $new]
    same [llength $numbers] 2
    try {
        set again [unix_sockets::adopt [lindex $numbers 0]]
        set numbers [lreplace $numbers 0 0]
        same [unix_sockets::OwnFile $again $file] 1
        close $listener
        unix_process::DisownPidFile
        unix_process::AdoptPidFile [lindex $numbers 0] $pidFile
        set numbers {}
        unix_process::OwnPidFile
    } finally {
        inject::quietly {forkserver::CloseAll $numbers}
    }
    set client [client $path hello\n]
    while {[set connection [unix_sockets::accept $again]] eq ""} {
        after 1
    }
    serveBlocking {*}$connection
    await {[heard $client] ne ""}
    same [heard $client] "answer got hello\n"
    close $again
    close $old
    close $new
}
