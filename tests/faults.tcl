# Faults: each system call of the library fails in turn, in one scenario after the other.
#
#   tclsh tests/faults.tcl LIBRARY ?-jobs N? ?-sample N? ?-only KIND,...? ?-slow N? ?-verbose 1?
#       ?-point {KIND FROM COUNT WHAT}? ?PATTERN?
#
# LIBRARY is what tests/faults/inject.cpp was built to, see the verb `faults` of build.tcl.
# A scenario (tests/faults/scenarios.tcl) runs once to count its calls. Then, for each kind
# of call, each position up to `maxPositions` and each fault that the system may answer
# there, it runs again in a forked child: with this one call failing, and with this and all
# later ones failing. What may come of it is success, or an error that tells the cause;
# never
#     crash    the end by a signal, or by an exit that nobody asked for
#     hang     no end before the deadline
#     spin     an end, but with much processor time used
#     leak     more descriptors than after a run without faults
#     orphan   a process that does not end by itself
#     lost     a client whose connection was made gets neither an answer nor an end
#     wrong    another outcome than that of success, or an error that hides its cause
# A violation counts when it shows again with six times the time.
#
# With -sample each N-th point only, with -slow on a machine that does much else, with -point
# one point of one scenario, to see what happens. The last line is "N passed, M failed".

package require Tcl 8.6-

namespace eval faults {
    namespace export scenario

    variable directory [file dirname [file normalize [info script]]]
    # Positions of a kind of call that are tried in a scenario.
    variable maxPositions 40
    # In the place of "for ever" where no program could go on: a signal storm, a socket
    # that is never ready.
    variable storm 50
    variable storms {{* EINTR} {* EAGAIN} {* short} {accept4 ECONNABORTED} {accept4 EPROTO}
        {accept4 ENETDOWN} {accept4 EHOSTUNREACH} {poll ENOMEM}}
    # So many processes share the points of a heavy scenario.
    variable heavyParts 4
    # Milliseconds for a scenario, and of processor time.
    variable slowness 1
    variable deadlineMs 3000
    variable maxCpuMs 400

    # What the manual pages of Linux say each call may fail with (close: it has closed).
    variable plausible {
        accept4       {EINTR EAGAIN ECONNABORTED EMFILE ENFILE ENOMEM ENOBUFS EPROTO EPERM
                       ENETDOWN EHOSTUNREACH}
        bind          {EADDRINUSE EACCES ENOMEM EROFS}
        capget        {EPERM}
        chmod         {EPERM EROFS EIO ENOENT}
        close         {EINTR EIO}
        connect       {EINTR EAGAIN ECONNREFUSED EACCES ENOENT EPERM}
        dup2          {EINTR EBUSY EMFILE}
        dup3          {EINTR EBUSY EMFILE}
        dupfd         {EMFILE}
        epoll_create1 {EMFILE ENFILE ENOMEM}
        epoll_ctl     {ENOMEM ENOSPC}
        epoll_wait    {EINTR EINVAL}
        faccessat     {EACCES EIO ENOMEM}
        fchdir        {EACCES EIO}
        fcntl         {EBADF}
        flock         {EINTR ENOLCK}
        fork          {EAGAIN ENOMEM}
        fstat         {ENOMEM EOVERFLOW}
        ftruncate     {EINTR EIO EPERM}
        getcwd        {ENOENT ENOMEM}
        getgrnam_r    {EINTR EIO EMFILE ENFILE ENOMEM}
        getgroups     {EINVAL}
        getpeername   {ENOTCONN ENOBUFS}
        getpwnam_r    {EINTR EIO EMFILE ENFILE ENOMEM}
        getpwuid_r    {EINTR EIO EMFILE ENFILE ENOMEM}
        getrlimit     {EINVAL}
        getsockname   {ENOBUFS}
        getsockopt    {ENOBUFS}
        ioctl         {EINVAL}
        kill          {EPERM ESRCH}
        listen        {EADDRINUSE}
        lstat         {EACCES ENOENT ENOMEM}
        mmap          {ENOMEM EAGAIN}
        open          {EINTR EMFILE ENFILE ENOMEM EACCES ENOSPC}
        opendir       {EMFILE ENFILE ENOMEM}
        pidfd_open    {EMFILE ENFILE ENOMEM ENOSYS EPERM}
        pipe          {EMFILE ENFILE}
        pipe2         {EMFILE ENFILE}
        poll          {EINTR ENOMEM}
        prctl         {EPERM}
        pread         {EINTR EIO short eof}
        pwrite        {EINTR EIO ENOSPC short}
        read          {EINTR EAGAIN short eof}
        recv          {EINTR EAGAIN ECONNRESET ENOMEM short eof}
        recvmsg       {EINTR EAGAIN ECONNRESET ENOMEM short eof ctrunc onefd}
        send          {EINTR EAGAIN EPIPE ECONNRESET ENOBUFS ENOMEM EPERM short}
        sendmsg       {EINTR EAGAIN EPIPE ECONNRESET ETOOMANYREFS ENOBUFS ENOMEM EPERM short}
        setegid       {EPERM}
        seteuid       {EPERM EAGAIN}
        setgroups     {EPERM ENOMEM}
        setresgid     {EPERM}
        setresuid     {EPERM EAGAIN}
        setrlimit     {EPERM}
        setsid        {EPERM}
        setsockopt    {ENOBUFS ENOMEM EPERM}
        shutdown      {ENOTCONN}
        sigaction     {EINVAL}
        socket        {EMFILE ENFILE ENOMEM ENOBUFS EACCES}
        socketpair    {EMFILE ENFILE ENOMEM}
        timer_create  {EAGAIN ENOMEM}
        unlink        {EACCES EBUSY EROFS}
        waitid        {EINTR ECHILD}
        waitpid       {EINTR ECHILD}
        write         {EINTR}
    }

    # Violations that are known, and stay: scenario, kind, fault, verdict (patterns). Where
    # the system does not tell how long a connection has been silent, it has no limit.
    variable known {
        {silence getsockopt * hang}
    }

    # name -> {body script clean script setup script allow patterns heavy bool}
    variable scenarios [dict create]
}

# ---- scenarios ---------------------------------------------------------------------

# scenario NAME ?-option VALUE ...? BODY
#
#   -setup SCRIPT   runs before, without faults, in the same process; -clean SCRIPT after it
#   -allow {WHATS PATTERN ...}
#                   an errorCode that matches the pattern tells of these faults in words of
#                   its own; "*": of all but EINTR
#   -heavy BOOL     takes long, so it is tried with fewer positions
#   -patience MS    what it may wait for takes so long at most

proc faults::scenario {name args} {
    variable scenarios
    dict set scenarios $name [dict merge {-setup {} -clean {} -allow {} -heavy 0 -patience 500} \
        [lrange $args 0 end-1] [list body [lindex $args end]]]
}

# Of these errors one is what a scenario ends with: what came is not what should have.
proc faults::unlike {kind message} {
    throw [list SCENARIO $kind] $message
}

proc same {actual wanted} {
    if {$actual ne $wanted} {
        faults::unlike WRONG "got \"$actual\", not \"$wanted\""
    }
}

# Runs the event loop until the condition holds.
proc await {condition} {
    set deadline [expr {[clock milliseconds] + $::patience}]
    while {![uplevel 1 [list expr $condition]]} {
        if {[clock milliseconds] > $deadline} {
            faults::unlike LATE "never true: $condition"
        }
        set tick [after 2 {set ::awaited 1}]
        vwait ::awaited
        after cancel $tick
    }
    return
}

# The next line; what goes wrong on the other side may end the connection.
proc nextLine {channel} {
    set ::lines($channel) ""
    chan configure $channel -blocking 0
    chan event $channel readable [list faults::NextLine $channel]
    try {
        await {$::lines($channel) ne ""}
    } finally {
        chan event $channel readable {}
    }
    if {$::lines($channel) eq "end"} {
        faults::unlike END "the connection has ended"
    }
    return [lindex $::lines($channel) 1]
}

proc faults::NextLine {channel} {
    if {[gets $channel line] >= 0} {
        set ::lines($channel) [list line $line]
    } elseif {[eof $channel]} {
        set ::lines($channel) end
    } else {
        return
    }
    chan event $channel readable {}
}

proc path {name} {
    return $::faults::temporary/$name.[pid]
}

# A client process; `heard` tells what it got.
proc client {path text} {
    inject::quietly {
        set channel [unix_sockets::adopt [inject::client $path $text [expr {2 * $::patience}]]]
    }
    chan configure $channel -blocking 0
    set ::clients($channel) ""
    chan event $channel readable [list faults::Hear $channel]
    return $channel
}

proc faults::Hear {channel} {
    append ::clients($channel) [read $channel]
    if {[eof $channel]} {
        chan event $channel readable {}
    }
}

proc heard {client} {
    return $::clients($client)
}

# ---- one run, in the child ------------------------------------------------------------

proc faults::Noted {message failure} {
    lappend ::noted [expr {[dict exists $failure -errorcode] ?
        [dict get $failure -errorcode] : "NONE"}] $message
}

# {code result errorCode errorInfo noted clients left counts}
proc faults::Perform {name arm patience} {
    variable scenarios
    set scenario [dict get $scenarios $name]
    set ::noted {}
    set ::patience $patience
    array set ::clients {}
    interp bgerror {} ::faults::Noted
    update ;# starts what Tcl's notifier needs
    set kept [chan names]
    uplevel #0 [dict get $scenario -setup]
    set before [inject::descriptors]
    inject::arm {*}$arm
    set code [catch {uplevel #0 [dict get $scenario body]} result failure]
    inject::disarm
    set counts [inject::counts]
    Clean $kept [dict get $scenario -clean]
    set ends [Ends]
    # What ends by itself, in the event loop, is not left.
    catch {await {[set left [Left $before [inject::descriptors]]] eq ""}}
    return [list $code $result [expr {$code ? [dict get $failure -errorcode] : ""}] \
        [expr {$code ? [dict get $failure -errorinfo] : ""}] $::noted $ends $left $counts]
}

# What the clients got, after all has been closed.
proc faults::Ends {} {
    set ends {}
    foreach channel [array names ::clients] {
        catch {await {[eof $channel]}}
        lappend ends [lindex $::clients($channel) 0]
        close $channel
    }
    return $ends
}

# As at the end of a program that catches its errors.
proc faults::Clean {kept script} {
    uplevel #0 $script
    catch {unix_process::notifier default}
    foreach class {::socketserver::pool ::forkserver::Connection} {
        if {[info object isa object $class]} {
            foreach object [info class instances $class] {
                catch {$object destroy}
            }
        }
    }
    foreach id [after info] {
        after cancel $id
    }
    foreach channel [chan names] {
        if {$channel ni $kept && ![info exists ::clients($channel)]} {
            catch {chan configure $channel -blocking 0}
            catch {close $channel}
        }
    }
    update
}

# Kinds of descriptors of which there are more.
proc faults::Left {before after} {
    set left {}
    dict for {target count} $after {
        set more [expr {$count - ([dict exists $before $target] ? [dict get $before $target] : 0)}]
        if {$more > 0} {
            lappend left $target $more
        }
    }
    return $left
}

# ---- judging -----------------------------------------------------------------------------

# One run of a scenario in a child of its own: what inject::run says, and the parts of the
# result by their names.
proc faults::Attempt {name arm {slow 1}} {
    variable deadlineMs
    variable scenarios
    variable slowness
    set slow [expr {$slow * $slowness}]
    set patience [expr {[dict get $scenarios $name -patience] * $slow}]
    set outcome [inject::run [list ::faults::Perform $name $arm $patience] \
        [expr {$deadlineMs * $slow + 2 * $patience}]]
    lassign [dict get $outcome result] code result errorCode errorInfo noted ends left counts
    return [dict merge $outcome [dict create code $code message $result errorCode $errorCode \
        errorInfo $errorInfo noted $noted ends $ends left $left counts $counts]]
}

# {verdict reason}: success, clean, unreached, or a kind of violation.
proc faults::Judge {name point outcome base slow} {
    variable scenarios
    variable maxCpuMs
    lassign $point kind position count what
    dict with outcome {}
    if {$late} {
        return [list hang "no end"]
    }
    if {$signal || $exit || $code eq ""} {
        return [list crash "signal $signal, exit $exit: $output"]
    }
    if {$orphans} {
        return [list orphan "$orphans processes"]
    }
    if {$cpu > $maxCpuMs * $slow + [dict get $base cpu]} {
        return [list spin "$cpu ms of processor time"]
    }
    foreach {target more} $left {
        if {![dict exists $base left $target] || [dict get $base left $target] < $more} {
            return [list leak "$more $target"]
        }
    }
    if {"silence" in $ends || "" in $ends} {
        return [list lost "clients: $ends"]
    }
    set told [IsTold [list $errorCode $message {*}$noted STDERR $output] $what \
        [dict get $scenarios $name -allow]]
    if {$code == 0 && ($noted eq "" || $told)} {
        return [list success ""]
    }
    if {$what eq "EINTR"} {
        return [list wrong "a signal: $errorCode: $message; $noted"]
    }
    if {$told} {
        return [list clean ""]
    }
    return [list wrong "$errorCode: $message; $noted"]
}

# Whether one of the errors (code, message, ...) tells what has happened. A reader sees a
# reset as an end.
proc faults::IsTold {errors what allowed} {
    lappend allowed {eof ECONNRESET} {SCENARIO *}
    set text [inject::message $what]
    foreach {code message} $errors {
        if {[lsearch -exact $code $what] >= 0 ||
            ($text ne "" && [string first $text $message] >= 0)} {
            return 1
        }
        foreach {faults pattern} $allowed {
            if {($faults eq "*" || $what in $faults) && [string match $pattern $code]} {
                return 1
            }
        }
    }
    return 0
}

# ---- all points of a scenario ---------------------------------------------------------------

# {kind position count what} of each.
proc faults::Points {counts isHeavy} {
    variable plausible
    variable maxPositions
    variable storm
    variable storms
    set most [expr {$isHeavy ? $maxPositions / 4 : $maxPositions}]
    set points {}
    foreach {kind calls} $counts {
        if {![dict exists $plausible $kind]} continue
        foreach what [dict get $plausible $kind] {
            for {set position 1} {$position <= min($calls, $most)} {incr position} {
                lappend points [list $kind $position 1 $what]
                set ever [expr {[Matches $storms [list $kind $what]] ? $storm : 1000000000}]
                lappend points [list $kind $position $ever $what]
            }
        }
    }
    return $points
}

proc faults::Try {name point base} {
    set outcome [Attempt $name $point]
    lassign [Judge $name $point $outcome $base 1] verdict reason
    if {$verdict ni {success clean}} {
        set outcome [Attempt $name $point 6]
        lassign [Judge $name $point $outcome $base 6] verdict reason
    }
    if {[dict get $outcome fired] == 0 && $verdict in {success clean}} {
        set verdict unreached
    }
    return [list $verdict $reason [dict get $outcome site]]
}

proc faults::IsKnown {name point verdict} {
    variable known
    return [Matches $known [list $name [lindex $point 0] [lindex $point 3] $verdict]]
}

proc faults::Matches {patterns words} {
    foreach pattern $patterns {
        if {[string match $pattern $words]} {
            return 1
        }
    }
    return 0
}

# {injected N success N clean N known N violations {point verdict reason site ...}
# sites {{kind site} 1 ...} ms N}
proc faults::NewTally {} {
    return [dict create injected 0 success 0 clean 0 known 0 violations {} sites {} ms 0]
}

# A part of its points: the one with this number, of so many.
proc faults::RunScenario {name sample only verbose part parts} {
    variable scenarios
    set tally [NewTally]
    foreach slow {1 6} {
        set base [Attempt $name {none 0 0 none} $slow]
        set left [dict create cpu 0 left [dict get $base left]]
        lassign [Judge $name {none 0 0 none} $base $left $slow] verdict reason
        if {$verdict eq "success"} break
    }
    if {$verdict ne "success"} {
        dict set tally injected 1
        dict set tally violations [list {none 0 0 none} $verdict $reason ""]
        return $tally
    }
    set began [clock milliseconds]
    set told $began
    set number 0
    set points [Points [dict get $base counts] [dict get $scenarios $name -heavy]]
    foreach point $points {
        if {[clock milliseconds] - $told >= 20000} {
            set told [clock milliseconds]
            puts stderr "$name: $number of [llength $points] points"
        }
        # By position: not every run makes as many calls.
        if {[incr number] % $sample != 0 || [lindex $point 1] % $parts != $part ||
            ($only ne "" && [lindex $point 0] ni $only)} continue
        lassign [Try $name $point $base] verdict reason site
        if {$verbose} {
            puts stderr "$name $point: $verdict $reason"
        }
        if {$verdict eq "unreached"} continue
        dict incr tally injected
        dict set tally sites [list [lindex $point 0] $site] 1
        if {$verdict in {success clean}} {
            dict incr tally $verdict
        } elseif {[IsKnown $name $point $verdict]} {
            dict incr tally known
        } else {
            dict lappend tally violations $point $verdict $reason $site
        }
    }
    dict set tally ms [expr {[clock milliseconds] - $began}]
    return $tally
}

# ---- the program --------------------------------------------------------------------------------

# A scenario in this process, which is warm: packages loaded, nothing else begun.
proc faults::Load {library} {
    variable directory
    variable temporary
    lappend ::auto_path [file dirname $directory]
    foreach package {unix_sockets unix_process forkserver socketserver} {
        package require $package
    }
    load $library Inject
    set major [lindex [split [info tclversion] .] 0]
    inject::open [file join [file dirname $directory] lib tcl$major uds[info sharedlibextension]]
    set temporary /tmp/uds-faults-[pid]
    file mkdir $temporary
    uplevel #0 [list source [file join $directory faults scenarios.tcl]]
}

proc faults::Start {name part parts library options} {
    set channel [open |[list [info nameofexecutable] [info script] $library -scenario $name \
        -part $part -parts $parts {*}$options 2>@stderr] r]
    chan configure $channel -blocking 0
    set ::answer($channel) ""
    chan event $channel readable [list ::faults::Ended $channel $name]
    incr ::running
}

proc faults::Ended {channel name} {
    append ::answer($channel) [read $channel]
    if {![eof $channel]} {
        return
    }
    incr ::running -1
    set tally $::answer($channel)
    if {[catch {close $channel} message] || [catch {dict get $tally injected}]} {
        set tally [dict merge [NewTally] [dict create injected 1 \
            violations [list {none 0 0 none} ended $tally ""]]]
    }
    set ::tallies($name) [Sum $::tallies($name) $tally]
    if {[incr ::partsLeft($name) -1] == 0} {
        Show $name $::tallies($name)
    }
    set ::ended 1
}

proc faults::Sum {a b} {
    return [dict create {*}[concat {*}[lmap {key value} $a {
        list $key [switch -- $key {
            violations { concat $value [dict get $b $key] }
            sites { dict merge $value [dict get $b $key] }
            default { expr {$value + [dict get $b $key]} }
        }]
    }]]]
}

proc faults::Show {name tally} {
    set violations [dict get $tally violations]
    puts [format "%-20s %7d %9d %7d %6d %10d  %6.1f s" $name [dict get $tally injected] \
        [dict get $tally success] [dict get $tally clean] [dict get $tally known] \
        [expr {[llength $violations] / 4}] \
        [expr {[dict get $tally ms] / 1000.0}]]
    foreach {point verdict reason site} $violations {
        puts "    $verdict: $point at $site: [string range [string map {\n { }} $reason] 0 700]"
    }
    flush stdout
}

proc faults::Names {pattern} {
    variable scenarios
    return [lsearch -all -inline -glob [dict keys $scenarios] $pattern]
}

# {name part parts} of each: heavy ones first, and in parts, since they wait most of the time.
proc faults::Parts {names} {
    variable scenarios
    variable heavyParts
    set first {}
    set then {}
    foreach name $names {
        set ::tallies($name) [NewTally]
        set ::partsLeft($name) 1
        if {![dict get $scenarios $name -heavy]} {
            lappend then [list $name 0 1]
            continue
        }
        set ::partsLeft($name) $heavyParts
        for {set part 0} {$part < $heavyParts} {incr part} {
            lappend first [list $name $part $heavyParts]
        }
    }
    return [concat $first $then]
}

proc faults::RunAll {library options jobs pattern} {
    set names [Names $pattern]
    set waiting [Parts $names]
    set ::running 0
    puts [format "%-20s %7s %9s %7s %6s %10s" scenario points succeeded errors known violations]
    while {$::running > 0 || [llength $waiting] > 0} {
        while {$::running < $jobs && [llength $waiting] > 0} {
            set waiting [lassign $waiting next]
            Start {*}$next $library $options
        }
        vwait ::ended
    }
    return [Conclude $names]
}

proc faults::Conclude {names} {
    set sum [NewTally]
    foreach name $names {
        set sum [Sum $sum $::tallies($name)]
    }
    set failed [expr {[llength [dict get $sum violations]] / 4}]
    set sites [dict get $sum sites]
    puts "\n[dict get $sum injected] points in [llength $names] scenarios, at\
        [dict size $sites] places of the library, [llength [lsort -unique [lmap site \
        [dict keys $sites] {lindex $site 0}]]] kinds of calls: [dict get $sum success] succeeded,\
        [dict get $sum clean] ended with an error that tells why,\
        [dict get $sum known] known violations, $failed new ones"
    puts "[expr {[dict get $sum injected] - $failed}] passed, $failed failed"
    return [expr {$failed > 0 || [dict get $sum injected] == 0}]
}

proc faults::Main {words} {
    variable scenarios
    variable directory
    variable temporary
    set words [lassign $words library]
    variable slowness
    array set option {-jobs 6 -sample 1 -only {} -slow 1 -verbose 0 -scenario {} -point {}
        -part 0 -parts 1}
    while {[string match -* [lindex $words 0]]} {
        set words [lassign $words name value]
        set option($name) $value
    }
    set pattern [expr {[llength $words] ? [lindex $words 0] : "*"}]
    set only [split $option(-only) ,]
    set slowness $option(-slow)
    Load $library
    set status 0
    try {
        if {$option(-point) ne ""} {
            puts [join [lmap {key value} [Attempt $pattern $option(-point)] {
                string cat $key ": " $value
            }] \n]
        } elseif {$option(-scenario) ne ""} {
            puts [RunScenario $option(-scenario) $option(-sample) $only $option(-verbose) \
                $option(-part) $option(-parts)]
        } else {
            set status [RunAll $library [list -sample $option(-sample) -only $option(-only) \
                -slow $slowness -verbose $option(-verbose)] $option(-jobs) $pattern]
        }
    } finally {
        file delete -force $temporary
    }
    exit $status
}

if {[info exists argv0] && [file normalize $argv0] eq [file normalize [info script]]} {
    faults::Main $argv
}
