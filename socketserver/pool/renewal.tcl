# socketserver/pool/renewal.tcl --
#
#   New code: reload and upgrade. The old workers stay until the new ones are ready.

oo::define socketserver::pool {
    # ---- reload --------------------------------------------------------------

    # reload ?-wait bool? ?-command cmd?: cmd is called with 1 and {}, or 0 and why.
    method reload {args} {
        set asked [my CheckRenewal reload $args]
        my Log notice "reloading"
        my Announce RELOADING 1
        lassign [my Answers $asked] answer commands
        my Load 1 $commands
        my AwaitAnswer $asked $answer
        return
    }

    # One at a time. Returns the options.
    method CheckRenewal {verb words} {
        lassign [unix_process::ParseOptions "$verb ?-wait bool? ?-command cmd?" \
            {-wait 1 -command {}} 0 $words] asked
        ::socketserver::options::CheckAs -wait bool [dict get $asked -wait]
        ::socketserver::options::CheckAs -command command [dict get $asked -command]
        my CheckUp $verb
        if {$state eq "draining"} {
            throw {SOCKETSERVER STATE draining} "couldn't $verb: the pool is draining"
        }
        if {[dict size $next] > 0 || [llength $successor] > 0} {
            throw {SOCKETSERVER BUSY} "couldn't $verb: a reload or an upgrade is under way"
        }
        return $asked
    }

    # {number commands}: who waits finds the outcome under the number, and the
    # commands are called with it.
    method Answers {asked} {
        set number [incr lastAnswer]
        set commands {}
        if {[dict get $asked -wait]} {
            lappend commands [namespace code [list my SetAnswer $number]]
        }
        if {[dict get $asked -command] ne ""} {
            lappend commands [dict get $asked -command]
        }
        return [list $number $commands]
    }

    method SetAnswer {number done message} {
        dict set answers $number [list $done $message $renewalCode]
    }

    method Answer {commands done message} {
        foreach cmd $commands {
            my CallUser $cmd $done $message
        }
    }

    # The new workers, besides the old ones.
    method SpawnReload {} {
        set fresh [dict get $next generation]
        lappend generations $fresh
        dict set next count [my InitialOf [dict get $next options]]
        for {set i 0} {$i < [dict get $next count]} {incr i} {
            if {![my Spawn $fresh]} {
                if {[dict size $next] > 0} {
                    my ReloadFailed $lastError {-errorcode {SOCKETSERVER BOOT}}
                }
                return
            }
        }
        my ReloadedIfReady
    }

    method ReloadedIfReady {} {
        if {![dict exists $next count]} {
            return
        }
        set fresh [dict get $next generation]
        # One that was ready may have ended since, as it should.
        if {[dict get $next readied] < [dict get $next count]} {
            return
        }
        set generation $fresh
        foreach number [$table numbers booting ready] {
            if {[$table get $number generation] ne $fresh} {
                my Retire $number reload
            }
        }
        set ended $next
        set next {}
        my CleanGenerations
        dict incr counters reloads
        my Log notice "reloaded: generation [$fresh number]"
        # What the operator has set meanwhile is in `given`.
        my Adopt [dict merge [dict get $ended options] $given]
        my AnswerReload $ended 1 ""
    }

    # The old workers stay.
    method ReloadFailed {message failed} {
        set fresh [dict get $next generation]
        set lastError $message
        set renewalCode [dict get $failed -errorcode]
        # Each of them may serve already, also one of which that is not known yet.
        foreach number [$table ofGeneration $fresh] {
            set deadline [$table get $number deadline]
            my Retire $number reload
            if {$deadline > 0} {
                $table set $number deadline $deadline ;# that of its boot
            }
        }
        my Log error "couldn't reload, the old workers stay: $message"
        if {$fresh ne "" && $fresh ni $generations} {
            lappend generations $fresh
        }
        set ended $next
        set next {}
        my AnswerReload $ended 0 $message
        my CleanGenerations
        my ReplaceForkServer
    }

    method AnswerReload {ended done message} {
        my Announce READY 1 STATUS [expr {$done ? "reloaded" : "couldn't reload: $message"}]
        my Hook -onreload $done $message
        my Answer [dict get $ended commands] $done $message
    }

    # Waits for the outcome, if asked to.
    method AwaitAnswer {asked number} {
        if {![dict get $asked -wait]} {
            return
        }
        while {![dict exists $answers $number]} {
            vwait [my varname answers]
        }
        lassign [dict get $answers $number] done message code
        dict unset answers $number
        if {!$done} {
            throw $code $message
        }
    }

    # ---- upgrade -------------------------------------------------------------

    # upgrade ?-wait bool? ?-command cmd?: as reload; this pool stops afterwards.
    method upgrade {args} {
        set asked [my CheckRenewal upgrade $args]
        set program [dict get $options -upgradecommand]
        if {$program eq ""} {
            set program [list [info nameofexecutable] $::argv0 {*}$::argv]
        }
        my Log notice "upgrading"
        lassign [my Answers $asked] answer commands
        set successor [list [::socketserver::Successor new $program \
            [namespace code {my HandOver}] [namespace code {my UpgradeFailed}]] $commands]
        my GiveAll
        set limit [dict get $options -boottimeout]
        if {$limit > 0} {
            my After upgrade [expr {2 * $limit}] \
                {my UpgradeFailed "it was not ready in time (twice -boottimeout)"}
        }
        my AwaitAnswer $asked $answer
        return
    }

    # Copies of all that is shared from now on: the new program's workers serve the queue
    # before it has taken over, and also when it never does.
    method GiveAll {} {
        set shared 1
        set handles [list $sender $receiver]
        set endpoints {}
        foreach each [$acceptor listeners] {
            lassign $each endpoint channel
            set sockets [::socketserver::ListenerSockets $channel]
            lappend endpoints $endpoint [llength $sockets]
            lappend handles {*}$sockets
        }
        lassign [unix_process::PidFile] pidFile lock
        [lindex $successor 0] send [list takeover [pid] $endpoints $pidFile] \
            [list {*}$handles {*}$lock]
    }

    # The new program has its workers: it accepts from now on, if it lives. Until it has
    # been told so nothing is closed that could not be taken back.
    method HandOver {} {
        my Cancel upgrade
        lassign $successor object
        foreach server [dict values $servers] {
            $server unlisten
        }
        my Announce MAINPID [$object pid] ;# first: systemd may listen to the main process only
        set files [$acceptor disown]
        if {[catch {$object send [list go $files]} message]} {
            my TakeBack $files
            my UpgradeFailed "process [$object pid] has died as it took over: $message"
            return
        }
        unix_process::DisownPidFile
        ::socketserver::systemd::StopWatchdog
        my Log notice "process [$object pid] has taken over"
        set state stopping
        $acceptor abandon [namespace code {my HandedOver}]
    }

    method TakeBack {files} {
        my Announce MAINPID [pid]
        $acceptor own $files
        foreach server [dict values $servers] {
            if {[catch {$server listen} message]} {
                my Log error $message
            }
        }
    }

    method HandedOver {} {
        lassign $successor object commands
        set limit [dict get $options -gracetimeout]
        if {$limit > 0} {
            my After stop $limit {my StopNow}
        }
        $object destroy
        set successor {}
        my Answer $commands 1 ""
        set hasty 1 ;# the queue is the new program's
        my RetireAll upgraded
        my StoppedIfDone
    }

    method UpgradeFailed {message} {
        my Cancel upgrade
        lassign $successor object commands
        set successor {}
        $object kill
        $object destroy
        set lastError $message
        set renewalCode {SOCKETSERVER UPGRADE}
        my Log error "couldn't upgrade, this program stays: $message"
        my Answer $commands 0 $message
    }
}
