# forkserver/caller.tcl --
#
#   The object that asks a fork server, in every process that holds a connection.

oo::class create forkserver::Connection {
    # owner      pid of the process that may use this object
    # serverPid  pid of the fork server
    # starter    1 in the process that started it
    # starting   1 until the server is ready
    # onlost     called once when the server has died
    # lost       why no call can work any more; empty while it can
    # number     of the last request; 0 is the start
    # pending    number -> {command cmd socket channel options dict} of requests whose
    #            outcome is told to a callback, until that is called
    # callbacks  pid -> {onexit cmd onerror cmd} of children that live
    # early      pid -> exit message that came together with the reply to fork
    # statuses   pid -> status of those that have ended and nobody asked about
    # givenUp    pid -> number of the last wait for it that reached its time limit
    variable link owner serverPid starter starting onlost lost number pending
    variable callbacks early statuses givenUp

    constructor {channel pid isStarter onlostCmd} {
        set pending [dict create] ;# first: the destructor asks for it
        set link [::forkserver::Link new $channel]
        set owner [pid]
        set serverPid $pid
        set starter $isStarter
        set starting $isStarter
        set onlost $onlostCmd
        set lost ""
        set number 0
        set callbacks [dict create]
        set statuses [dict create]
        set early [dict create]
        set givenUp [dict create]
        chan event $channel readable [namespace code {my Readable}]
    }

    destructor {
        catch {$link destroy}
        foreach request [dict values $pending] {
            catch {close [dict get $request socket]}
        }
    }

    # fork ?-onexit cmd? ?-onerror cmd? ?-handles list? ?-args list? ?-name title?
    #      ?-command cmd? script
    method fork {args} {
        lassign [unix_process::ParseOptions "forkserver::fork ?-onexit cmd? ?-onerror cmd?\
            ?-handles list? ?-args list? ?-name title? ?-command cmd? script" \
            {-onexit {} -onerror {} -handles {} -args {} -name {} -command {}} 1 $args] \
            options script
        ::forkserver::CheckLists $options -onexit -onerror -handles -args -command
        my Usable
        lassign [::forkserver::Try SOCKET {::forkserver::HalfPair}] mine theirs
        try {
            set waits [expr {[dict get $options -command] eq ""}]
            set request [my Send $waits [list $theirs {*}[dict get $options -handles]] \
                fork $script [dict get $options -args] [dict get $options -name]]
            if {$waits} {
                return [my Forked [my Await $request] $mine $options]
            }
        } on error {message failure} {
            close $mine
            return -options $failure $message
        } finally {
            ::forkserver::CloseDescriptor $theirs
        }
        my Expect $request [dict get $options -command] $mine $options
    }

    # wait pid ?-timeout ms? -> status; empty at the time limit
    method wait {pid args} {
        set timeout [my Timeout "forkserver::wait pid ?-timeout ms?" $args]
        set status ""
        if {![dict exists $statuses $pid]} {
            try {
                set status [my CallFor $timeout {} wait $pid]
            } trap {FORKSERVER WAIT} {message failure} {
                # It had ended; the news came while the call waited for its reply.
                if {![dict exists $statuses $pid]} {
                    return -options $failure $message
                }
            }
        }
        if {[dict exists $statuses $pid]} {
            set status [dict get $statuses $pid]
        }
        if {$status ne ""} {
            dict unset statuses $pid
            dict unset givenUp $pid
        } else {
            dict set givenUp $pid $number
        }
        return $status
    }

    # waitall ?-timeout ms? -> 1; 0 at the time limit
    method waitall {args} {
        set timeout [my Timeout "forkserver::waitall ?-timeout ms?" $args]
        return [expr {[my CallFor $timeout {} waitall] ne ""}]
    }

    method kill {pid signal} {
        my Call {} kill $pid $signal
    }

    method killall {signal} {
        my Call {} killall $signal
    }

    method children {} {
        my Call {} children
    }

    method pid {} {
        return $serverPid
    }

    method eval {script} {
        my Call {} eval $script
    }

    # share channel: gives another connection to the process at its other end
    method share {channel} {
        my Usable
        lassign [::forkserver::Try SOCKET {unix_sockets::pair}] given theirs
        try {
            my Call [list $theirs] share
            ::forkserver::Try WRITE {unix_sockets::sendfd $channel $given "forkserver $serverPid"}
        } finally {
            close $given
            close $theirs
        }
        return
    }

    # stop ?-wait bool? ?-timeout ms?
    method stop {args} {
        lassign [unix_process::ParseOptions "forkserver::stop ?-wait bool? ?-timeout ms?" \
            {-wait 0 -timeout -1} 0 $args] options
        my CheckStop
        if {![string is boolean -strict [dict get $options -wait]]} {
            throw [list FORKSERVER VALUE [dict get $options -wait]] \
                "bad value \"[dict get $options -wait]\" for -wait: must be a boolean"
        }
        my CheckTimeout [dict get $options -timeout]
        my Call {} stop [dict get $options -wait] [dict get $options -timeout]
        if {[dict get $options -wait]} {
            catch {unix_process::wait $serverPid}
        }
        my destroy
    }

    method stopserver {} {
        my CheckStop
        my Call {} stopserver
        catch {unix_process::wait $serverPid}
        my destroy
    }

    # ---- private -------------------------------------------------------------

    method CheckStop {} {
        my Usable
        if {!$starter} {
            throw {FORKSERVER STOP} "couldn't stop the fork server: only the process that\
                started it may"
        }
    }

    method Timeout {usage words} {
        lassign [unix_process::ParseOptions $usage {-timeout -1} 0 $words] options
        set timeout [dict get $options -timeout]
        my CheckTimeout $timeout
        return $timeout
    }

    method CheckTimeout {ms} {
        if {![string is integer -strict $ms] || $ms < -1} {
            throw [list FORKSERVER VALUE $ms] \
                "bad value \"$ms\" for -timeout: must be a number of milliseconds"
        }
    }

    method Usable {} {
        if {$lost ne ""} {
            throw {FORKSERVER LOST} $lost
        }
        ::forkserver::CheckOwner $owner
    }

    method Call {handles verb args} {
        my CallFor -1 $handles $verb {*}$args
    }

    # Sends a request and waits for its reply; empty at the time limit.
    method CallFor {timeout handles verb args} {
        my Usable
        set deadline [expr {$timeout < 0 ? "" : [clock milliseconds] + $timeout}]
        my Await [my Send 1 $handles $verb {*}$args] $deadline
    }

    # Sends a request, and returns its number. Waits for room only if told to.
    method Send {blocking handles verb args} {
        incr number
        try {
            $link send [list $number $verb {*}$args] $blocking $handles
        } trap {POSIX EPIPE} {} {
            my ReadLast
            my Lost
        } trap POSIX {message failure} {
            throw [list FORKSERVER WRITE {*}[dict get $failure -errorcode]] $message
        }
        return $number
    }

    # Waits for a reply; empty at the deadline.
    method Await {mine {deadline ""}} {
        while {1} {
            foreach message [my Receive] {
                lassign $message kind which result failure
                if {$kind eq "reply" && $which == $mine} {
                    set answer $result
                } elseif {$kind eq "failure" && $which == $mine} {
                    set error [list $result $failure]
                } else {
                    my Dispatch $message
                }
            }
            if {[info exists answer]} {
                return $answer
            }
            if {[info exists error]} {
                lassign $error message failure
                return -code error {*}[dict filter $failure key -errorcode -errorinfo] $message
            }
            if {[$link ended]} {
                my Lost
            }
            set left [expr {$deadline eq "" ? -1 : $deadline - [clock milliseconds]}]
            if {$deadline ne "" && $left <= 0} {
                return ""
            }
            $link await $left
        }
    }

    # The messages that have come.
    method Receive {} {
        set messages {}
        try {
            $link fill
            while {[$link next message descriptors]} {
                lappend messages $message
            }
        } trap {FORKSERVER} {} - trap POSIX {} {
            my Lost
        }
        return $messages
    }

    # What the server had sent before it died.
    method ReadLast {} {
        catch {
            foreach message [my Receive] {
                my Dispatch $message
            }
        }
    }

    method Lost {} {
        my NoteLost
        throw {FORKSERVER LOST} $lost
    }

    method NoteLost {} {
        if {$lost ne ""} {
            return
        }
        set lost "the fork server (process $serverPid) is gone"
        chan event [$link channel] readable {}
        foreach request [dict keys $pending] {
            my Later Finish $request "" $lost \
                [list -errorcode {FORKSERVER LOST} -errorinfo $lost]
        }
        if {$starting} {
            my Later destroy
        } else {
            my Later TellLost
        }
    }

    method TellLost {} {
        uplevel #0 $onlost
    }

    method AwaitReady {onreadyCmd} {
        if {$onreadyCmd ne ""} {
            my Expect 0 $onreadyCmd
            return
        }
        my Await 0
        set starting 0
    }

    # A method call from the event loop.
    method Later {args} {
        ::forkserver::CallLater [list ::forkserver::CallMethod [namespace current]::my {*}$args]
    }

    # Has a callback told of the outcome of a request.
    method Expect {request cmd {socket ""} {options {}}} {
        dict set pending $request [dict create command $cmd socket $socket options $options]
        return
    }

    # Tells it; the first outcome counts. The words are the message and the
    # options of an error.
    method Finish {request result args} {
        if {![dict exists $pending $request]} {
            return
        }
        set cmd [dict get $pending $request command]
        set socket [dict get $pending $request socket]
        set options [dict get $pending $request options]
        dict unset pending $request
        if {$request == 0} {
            set result [self]
        } elseif {$args eq {}} {
            set result [my Forked $result $socket $options]
        } else {
            close $socket
        }
        uplevel #0 [list {*}$cmd $result {*}$args]
    }

    # What "fork" returns. From now on the child's exit is told.
    method Forked {pid socket options} {
        dict unset statuses $pid ;# of an older process with this number
        dict set callbacks $pid [dict filter $options key -onexit -onerror]
        if {[dict exists $early $pid]} {
            my Ended {*}[dict get $early $pid]
            dict unset early $pid
        }
        return [dict create pid $pid socket $socket]
    }

    # From the event loop: only what nobody waits for.
    method Readable {} {
        if {$owner != [pid]} {
            chan event [$link channel] readable {}
            return
        }
        try {
            foreach message [my Receive] {
                my Dispatch $message
            }
        } trap {FORKSERVER LOST} {} {
            return
        }
        if {[$link ended]} {
            my NoteLost
        }
    }

    # To a call that gave up: a status is told but once, so it is kept.
    method LateReply {kind to result} {
        dict for {pid waited} $givenUp {
            if {$waited == $to && $kind eq "reply"} {
                dict set statuses $pid $result
                dict unset givenUp $pid
                return
            }
        }
    }

    method Dispatch {message} {
        lassign $message kind which result failure
        if {$kind eq "exit"} {
            my Ended {*}[lrange $message 1 end]
        } elseif {![dict exists $pending $which]} {
            my LateReply $kind $which $result
        } elseif {$kind eq "reply"} {
            my Later Finish $which $result
        } else {
            my Later Finish $which "" $result $failure
        }
        if {$kind eq "reply" && $which == 0} {
            set starting 0
        } elseif {$kind eq "failure" && $which == 0} {
            my NoteLost
        }
    }

    method Ended {pid status {text ""} {failure ""}} {
        if {![dict exists $callbacks $pid]} {
            dict set early $pid [list $pid $status $text $failure]
            return
        }
        set ended [dict get $callbacks $pid]
        dict unset callbacks $pid
        dict set statuses $pid $status
        if {[dict size $statuses] > $::forkserver::maxStatuses} {
            dict unset statuses [lindex [dict keys $statuses] 0]
        }
        if {$failure ne "" && [dict get $ended -onerror] ne ""} {
            ::forkserver::CallLater [dict get $ended -onerror] $pid $text $failure
        } elseif {$failure ne ""} {
            ::forkserver::RaiseLater $text $failure
        }
        ::forkserver::CallLater [dict get $ended -onexit] $pid $status
    }
}
