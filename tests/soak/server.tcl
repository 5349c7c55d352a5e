# The server of the soak: four pools of one parent, and a fork server beside them, whose
# children do small jobs. A program that is run by startServer of servers.tcl.
#
#   web      workers that block, each for some hundred connections; reloaded now and then
#   steady   workers that block, and stay to the end; they adopt what others hand over
#   events   workers that serve many at a time, and stay to the end
#   each     a process for each connection

package require socketserver
package require forkserver

source [file join [file dirname [file normalize [info script]]] handler.tcl]

namespace eval soak {
    variable home [file dirname [file normalize [info script]]]
    variable pools {steady events web each}
    # Warnings and errors of all pools, and jobs that failed.
    variable complaints {}

    # The fork server, and the timer of the next job.
    variable jobs ""
    variable jobTimer ""
    variable jobMs 150
    variable jobNumber 0
    variable jobCounts [dict create begun 0 done 0]
    # Job -> how its child has ended; whether the job waits for that.
    variable ended [dict create]
    variable waiting [dict create]

    variable jobScript {
        lassign [forkserver::child handles] pipe
        chan configure $pipe -translation binary
        puts -nonewline $pipe [soak::Range {*}[forkserver::child args]]
        close $pipe
        set socket [forkserver::child socket]
        gets $socket sum
        puts $socket "the sum is $sum"
        close $socket
    }
}

# ---- pools ---------------------------------------------------------------------------

proc soak::begin {directory noise idleMs} {
    variable noisePath $noise
    variable adopterPath [file join $directory steady]
    variable adopterPort 0
    catch {unix_process::notifier epoll} ;# which not every system has
    StartJobs
    set control [file join $directory control]
    foreach {name options} [list \
        steady {-handler soak::serve -workers 2} \
        events {-handler soak::serveEvents -workers 2 -concurrency 500} \
        web    [list -handler soak::serveSome -workers 4 -maxrequests 200 -jitter 50 \
                    -control $control] \
        each   {-handler soak::serve -mode perconnection -maxchildren 100} \
    ] {
        socketserver::pool create ::$name -name $name {*}$options -idletimeout $idleMs \
            -gracetimeout 300000 -listen [list 127.0.0.1:0 unix:[file join $directory $name]] \
            -preload [Preload] -log [list soak::Complain $name] -loglevel warn
        ::$name start
        if {$name eq "steady"} {
            variable adopterPort [lindex [AddressesOf steady] 0 2]
        }
    }
}

# Background errors of the workers go to the log of the pool, and not where those of the
# parent go.
proc soak::Preload {} {
    set script "interp bgerror {} ::tcl::Bgerror\n"
    foreach name {noisePath adopterPath adopterPort} {
        append script [list namespace eval ::soak [list variable $name [set ::soak::$name]]] \n
    }
    return "$script[list source [file join $::soak::home handler.tcl]]"
}

proc soak::Complain {name level message} {
    variable complaints
    if {[llength $complaints] < 100} {
        lappend complaints "$name: $level: $message"
    }
}

proc soak::AddressesOf {pool} {
    set addresses {}
    foreach listener [::$pool listeners] {
        lappend addresses [dict get $listener address]
    }
    return $addresses
}

# What there is to know, of the pools and of the jobs.
proc soak::state {} {
    variable pools
    set state [dict create complaints $::soak::complaints errors $::errors \
        jobs $::soak::jobCounts jobserver [$::soak::jobs pid]]
    foreach name $pools {
        dict set state pools $name [dict remove [::$name stats] listeners]
    }
    return $state
}

# HOST:PORT and path of each pool.
proc soak::addresses {} {
    variable pools
    set found [dict create]
    foreach name $pools {
        lassign [AddressesOf $name] tcp unix
        dict set found $name.tcp [lindex $tcp 0]:[lindex $tcp 2]
        dict set found $name.unix $unix
    }
    return $found
}

# Ends a worker of `web` as an operator may do it.
proc soak::retire {} {
    foreach worker [web workers] {
        if {[dict get $worker state] in {idle busy}} {
            unix_process::kill [dict get $worker pid] SIGTERM
            return
        }
    }
}

proc soak::finish {} {
    variable pools
    pauseJobs
    foreach name $pools {
        ::$name stop
        ::$name destroy
    }
    $::soak::jobs stop -wait 1
}

# ---- jobs ----------------------------------------------------------------------------

proc soak::StartJobs {} {
    variable jobs [forkserver::start -name jobs -spare 1 -preload [Preload]]
}

proc soak::pauseJobs {} {
    variable jobTimer
    after cancel $jobTimer
}

proc soak::resumeJobs {} {
    variable jobNumber
    variable jobMs
    variable jobTimer [after $jobMs soak::resumeJobs]
    coroutine job[incr jobNumber] [namespace current]::RunJob
}

proc soak::RunJob {} {
    variable jobCounts
    dict incr jobCounts begun
    if {[catch {Job} message failure]} {
        Complain jobs error [dict get $failure -errorinfo]
    }
    dict incr jobCounts done
}

# A child writes a range into a pipe, is told its sum, and tells it again.
proc soak::Job {} {
    variable jobs
    set job [info coroutine]
    set size [expr {1 + int(rand() * 50000)}]
    set start [expr {int(rand() * 1000000)}]
    lassign [chan pipe] reader writer
    chan configure $reader -blocking 0 -translation binary
    $jobs fork -command [list [namespace current]::Born $job] \
        -onexit [list [namespace current]::Ended $job] -handles [list $writer] \
        -args [list $start $size] $::soak::jobScript
    close $writer
    lassign [yield] child problem
    if {$child eq ""} {
        close $reader
        error "no child for a job: $problem"
    }
    set socket [dict get $child socket]
    try {
        set sum [zlib crc32 [Rest $reader]]
        chan configure $socket -blocking 0 -buffering line
        puts $socket $sum
        set answer [Rest $socket]
    } finally {
        close $reader
        close $socket
    }
    set status [StatusOf $job]
    if {$sum != [zlib crc32 [Range $start $size]] || $answer ne "the sum is $sum\n" ||
        $status ne "exit 0"} {
        error "a job has said \"$answer\" of $sum, and ended with $status"
    }
}

proc soak::Born {job child args} {
    $job [list $child {*}$args]
}

proc soak::Ended {job pid status} {
    variable ended
    variable waiting
    dict set ended $job $status
    if {[dict exists $waiting $job]} {
        $job
    }
}

proc soak::StatusOf {job} {
    variable ended
    variable waiting
    if {![dict exists $ended $job]} {
        dict set waiting $job 1
        yield
    }
    set status [dict get $ended $job]
    dict unset ended $job
    dict unset waiting $job
    return $status
}
