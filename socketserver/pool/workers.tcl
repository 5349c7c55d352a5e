# socketserver/pool/workers.tcl --
#
#   A pool and one of its workers: from birth to the reason of its end.

namespace eval socketserver {
    # What a worker may say: a pattern for each word behind the verb. A worker may be in
    # the hands of one of its clients, and the parent is not to be.
    variable sayings {
        ready {} failed {.*} retiring {done|recycled|terminated} claimed {[0-9]{1,18}}
        released {[0-9]{1,18}} refused {proxy} cut {[0-9]{1,9}} redeliver {}
        log {debug|info|notice|warn|error|critical|alert|emergency .*}
    }
}

oo::define socketserver::pool {
    # ---- workers: talking to them -------------------------------------------

    method TellWorker {number args} {
        set link [$table get $number link]
        if {$link ne ""} {
            catch {$link send $args 0}
        }
    }

    method Hear {number} {
        if {![my ReadLink $number 1] || ![my Has $number]} {
            return
        }
        chan event [[$table get $number link] channel] readable {}
        $table set $number endedAt [::socketserver::Now]
        # Only the fork server could tell how it ended.
        if {[[$table get $number generation] state] eq "lost"} {
            my WorkerExited $number [$table get $number pid] unknown
        }
    }

    # Whether nothing more is to come. A worker that talks nonsense may be in the hands of a
    # client, and have sent descriptors that are kept here: it is killed at once, if it lives.
    method ReadLink {number {lives 0}} {
        set link [$table get $number link]
        try {
            $link fill
        } trap {POSIX ECONNRESET} {} {
            return 1 ;# it has ended, and left something unread
        } on error {message} {
            my Log error "couldn't hear worker $number (pid [$table get $number pid]): $message"
            return 1
        }
        while {![catch {$link next message descriptors} hasCome failed]} {
            if {!$hasCome} {
                return [$link ended]
            }
            if {![my Understands $message] ||
                [llength $descriptors] != ([lindex $message 0] eq "redeliver")} {
                ::forkserver::CloseAll $descriptors
                my Nonsense $number $lives
                return 1
            }
            my Heard $number $message $descriptors
            if {![my Has $number]} {
                return 1
            }
        }
        if {[dict get $failed -errorcode] eq {FORKSERVER READ}} {
            my Nonsense $number $lives
        }
        return 1
    }

    method Nonsense {number lives} {
        my Log error "worker $number (pid [$table get $number pid]) says what is not understood"
        if {$lives} {
            my Kill $number closed
        }
    }

    # What was done for one worker may have ended it, or the pool.
    method Has {number} {
        return [expr {$table ne "" && [$table exists $number]}]
    }

    method Understands {message} {
        if {![string is list $message] || ![dict exists $::socketserver::sayings \
            [lindex $message 0]]} {
            return 0
        }
        set patterns [dict get $::socketserver::sayings [lindex $message 0]]
        if {[llength $message] != [llength $patterns] + 1} {
            return 0
        }
        foreach word [lrange $message 1 end] pattern $patterns {
            if {![regexp "^(?:$pattern)\$" $word]} {
                return 0
            }
        }
        return 1
    }

    method Heard {number message descriptors} {
        set words [lassign $message verb]
        switch -- $verb {
            ready {
                my WorkerReady $number
            }
            failed {
                $table set $number error [lindex $words 0]
            }
            retiring {
                my NoteRetiring $number [lindex $words 0]
            }
            claimed {
                $acceptor claimed [lindex $words 0] $number
            }
            released {
                $acceptor released [lindex $words 0] $number
            }
            refused {
                dict set counters refused [my Increased [dict get $counters refused] \
                    [lindex $words 0] 1]
            }
            cut {
                dict incr counters cut [lindex $words 0]
            }
            redeliver {
                lappend waiting {*}$descriptors
                dict incr counters redelivered [llength $descriptors]
                set descriptors {}
                my PutBack
            }
            log {
                my Log {*}[lrange $words 0 1]
            }
        }
        ::forkserver::CloseAll $descriptors
    }

    method Increased {dict key count} {
        dict incr dict $key $count
        return $dict
    }

    # Into the queue, as soon as there is room.
    method PutBack {} {
        while {[llength $waiting] > 0} {
            if {[catch {::socketserver::Requeue $sender [lindex $waiting 0]}]} {
                my After putback $::socketserver::retryMs {my PutBack}
                return
            }
            ::forkserver::CloseDescriptor [lindex $waiting 0]
            set waiting [lrange $waiting 1 end]
        }
        # The workers may be on their way out.
        switch -- $state {
            stopping {
                my After finish 20 {my FinishQueue}
            }
            draining {
                my After drained 50 {my DrainedIfDone}
            }
        }
    }

    method WorkerReady {number} {
        if {[$table get $number state] ne "booting"} {
            return
        }
        $table set $number state ready readyAt [::socketserver::Now] deadline 0
        if {[$table get $number generation] eq [my Pending]} {
            dict incr next readied
            my ReloadedIfReady
        }
        my StartedIfReady
        my Adjust
    }

    # It has decided so by itself, and serves what it has in its own time.
    method NoteRetiring {number reason} {
        if {[$table get $number state] eq "retiring"} {
            return
        }
        $table set $number state retiring reason $reason deadline 0
        if {[$table get $number readyAt] > 0} {
            my Adjust
        }
    }

    # Ends a worker: when it serves nobody any more, or at the time limit.
    method Retire {number reason} {
        if {[$table get $number state] eq "retiring" && [$table get $number deadline] > 0} {
            return
        }
        set limit [dict get $options -gracetimeout]
        set deadline [expr {$limit > 0 ? [::socketserver::Now] + $limit : 0}]
        if {[$table get $number state] ne "retiring"} {
            $table set $number reason $reason
        }
        $table set $number state retiring deadline $deadline
        my TellWorker $number retire
    }

    method RetireSome {count} {
        set active [dict create]
        set candidates [my Current booting ready]
        foreach number $candidates {
            lassign [::socketserver::BoardSlot $board $number] taken done
            dict set active $number [expr {$taken - $done}]
        }
        foreach number [$table surplus $count $candidates $active] {
            my Retire $number scaled
        }
    }

    method RetireAll {reason} {
        foreach number [$table numbers] {
            my Retire $number $reason
        }
    }

    method Kill {number reason} {
        $table set $number killed 1 reason $reason
        set pid [$table get $number pid]
        if {$pid == 0} {
            return
        }
        if {[[$table get $number generation] mayHave $pid]} {
            catch {unix_process::kill $pid SIGKILL}
        } else {
            my Log error "worker $number (pid $pid) is not killed: it is another user's process"
        }
    }

    # ---- workers: their ends -------------------------------------------------

    # The number may be another's by now.
    method WorkerExited {number pid status} {
        if {![my Has $number] || [$table get $number pid] != $pid} {
            return
        }
        # What it said last may still be unread.
        set link [$table get $number link]
        if {$link ne ""} {
            my ReadLink $number
            if {![my Has $number]} {
                return
            }
        }
        set row [my ForgetWorker $number]
        set reason [my ReasonOf $row $status]
        dict set counters exits [my Increased [dict get $counters exits] $reason 1]
        my LogExit $number $pid $row $reason $status
        my Hook -onworkerexit $number $pid $reason $status
        if {[my IsUp]} {
            my JudgeExit $row $reason \
                "worker $number (pid $pid) ended: [my Explain $reason $status]"
        }
        if {[my IsUp]} {
            my AfterExit
        }
    }

    # Returns {state S reason R killed B error E cut N generation G steady B wasReady B}.
    method ForgetWorker {number} {
        lassign [::socketserver::BoardFold $board $number] taken done taking
        dict incr counters cut [expr {$taken - $done}]
        dict incr counters doubts $taking
        $acceptor ended $number
        set readyAt [$table get $number readyAt]
        set row [dict create cut [expr {$taken - $done}] wasReady [expr {$readyAt > 0}] \
            steady [expr {$readyAt > 0 &&
                ($taken > 0 || [::socketserver::Now] - $readyAt > $::socketserver::steadyMs)}]]
        foreach field {state reason killed generation error} {
            dict set row $field [$table get $number $field]
        }
        set link [$table get $number link]
        if {$link ne ""} {
            $link destroy
        }
        if {[$table get $number life] ne ""} {
            close [$table get $number life]
        }
        $table remove $number
        return $row
    }

    # Why it ended, in one word.
    method ReasonOf {row status} {
        if {[dict get $row killed]} {
            return [dict get $row reason]
        }
        switch -glob -- $status {
            "exit 0" {
                set reason [dict get $row reason]
                return [expr {$reason eq "" ? "exit" : $reason}]
            }
            exit* {
                return error
            }
            signal* {
                return signal
            }
        }
        # Who has said why, and has cut nobody, has ended for that.
        set reason [dict get $row reason]
        return [expr {$reason eq "" || [dict get $row cut] > 0 ? "lost" : $reason}]
    }

    method Explain {reason status} {
        switch -- $reason {
            timeout {
                return "killed, its event loop did not turn for [dict get $options -timeout] ms\
                    (-timeout)"
            }
            boottimeout {
                return "killed, it was not ready after [dict get $options -boottimeout] ms\
                    (-boottimeout)"
            }
            gracetimeout {
                return "killed, it was not done after [dict get $options -gracetimeout] ms\
                    (-gracetimeout)"
            }
            closed {
                return "killed, it had closed its link to the pool"
            }
            signal {
                set hint [expr {$status eq "signal SIGKILL" ?
                    ", not by this pool: short of memory?" : ""}]
                return "[regsub {^signal} $status {killed by}]$hint"
            }
            lost {
                return "nothing is known of how, its fork server had died"
            }
        }
        return "$reason ($status)"
    }

    method LogExit {number pid row reason status} {
        set level [expr {$reason in {
            timeout boottimeout gracetimeout signal error lost closed exit
        } ?
            "warn" : $reason eq "done" ? "debug" : "info"}]
        set cut [dict get $row cut]
        my Log $level "worker $number (pid $pid) ended: [my Explain $reason $status][expr {
            $cut > 0 ? ", connections cut: $cut" : ""}]"
    }

    # Counts failures in a row: ends that nobody asked for, before the worker got a
    # connection. One that ends while it serves is replaced at once: what does that
    # may be a client, which is not to keep the others waiting.
    method JudgeExit {row reason message} {
        if {[dict get $row error] ne ""} {
            set message [dict get $row error]
        }
        if {[dict get $row steady] || $reason in {recycled done memory scaled}} {
            $backoff succeeded
        } elseif {[dict get $row generation] eq [my Pending] &&
            ([dict get $row state] ne "retiring" || ![dict get $row wasReady])} {
            my ReloadFailed $message {-errorcode {SOCKETSERVER BOOT}}
        } elseif {[dict get $row state] ne "retiring"} {
            my SpawnFailed $message
        }
    }

    # A fork server that has died is no failure of a worker, and is replaced anyway.
    method ForkFailed {from message failed} {
        if {[lrange [dict get $failed -errorcode] 0 1] eq {FORKSERVER LOST}} {
            return
        }
        set message "couldn't fork a worker: $message"
        my Log error $message
        if {$from eq [my Pending]} {
            my ReloadFailed $message $failed
        } else {
            my SpawnFailed $message
        }
    }

    method SpawnFailed {message} {
        set lastError $message
        set delay [$backoff failed [dict get $options -backoff] [::socketserver::Now]]
        set most [dict get $options -maxspawnfailures]
        set failures [$backoff failures]
        if {$most > 0 && $failures >= $most &&
            ($state eq "starting" || [$table count ready retiring] == 0)} {
            my Fail "couldn't start workers: $failures failed in a row, the last error is:\
                $message" {-errorcode {SOCKETSERVER BOOT} -errorinfo {}}
            return
        }
        my Log warn "the next worker is started in $delay ms ($failures failed in a row)"
        my After adjust $delay {my Adjust}
    }

    method AfterExit {} {
        my CleanGenerations
        switch -- $state {
            stopping {
                my StoppedIfDone
            }
            draining {
                my DrainedIfDone
            }
        }
        my Adjust
    }

    # A generation without workers that is not the current one is of no more use.
    method CleanGenerations {} {
        set kept {}
        foreach each $generations {
            if {$each ni [list $generation [my Pending]] &&
                [llength [$table ofGeneration $each]] == 0} {
                $each destroy
            } else {
                lappend kept $each
            }
        }
        set generations $kept
    }

    # Its workers go on; another one will fork the next.
    method ForkServerLost {number} {
        foreach each [$table numbers] {
            if {[[$table get $each generation] number] == $number} {
                my WatchOrphan $each
            }
        }
        if {[my Reloading] && [[my Pending] number] == $number} {
            my ReloadFailed "the new fork server died" {-errorcode {SOCKETSERVER LOST}}
            return
        }
        if {$generation eq "" || [$generation number] != $number} {
            return
        }
        my Log warn "the fork server (generation $number) died, starting another"
        set lastError "the fork server died"
        if {[$generation age] < $::socketserver::steadyMs} {
            my SpawnFailed $lastError
        }
        my ReplaceForkServer
    }

    # Its link tells of its end, too, but not while a process that it has forked
    # holds a copy.
    method WatchOrphan {number} {
        set pid [$table get $number pid]
        if {$pid == 0} {
            my ForgetWorker $number
        } elseif {[eof [[$table get $number link] channel]]} {
            my WorkerExited $number $pid unknown
        } elseif {![catch {unix_process::pidfd $pid} life]} {
            $table set $number life $life
            chan event $life readable [namespace code [list my WorkerExited $number $pid unknown]]
        }
    }

    # After a failure, when the delay is over.
    method ReplaceForkServer {} {
        if {![my IsUp] || [dict size $next] > 0 || $generation eq "" ||
            [$generation state] ne "lost"} {
            return
        }
        set delay [$backoff wait [::socketserver::Now]]
        if {$delay > 0} {
            my After load $delay {my ReplaceForkServer}
        } else {
            my Load 0
        }
    }
}
