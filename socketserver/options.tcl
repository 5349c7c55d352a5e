# socketserver/options.tcl --
#
#   The options of a pool: one table, from which the class, the command line,
#   the config file and the help texts are made. No I/O.

namespace eval socketserver::options {
    # name -> {kind K default D argument A live 0|1 group G summary S}
    #   kind      a procedure of the namespace `kind` with leading arguments: gets the
    #             value appended, returns it in its normal form, throws what it must be
    #   live      may change while the pool runs
    variable table [dict create]
    variable group ""
}

# ---- questions -------------------------------------------------------------------

proc socketserver::options::Names {} {
    variable table
    return [dict keys $table]
}

proc socketserver::options::Get {name field} {
    variable table
    return [dict get $table $name $field]
}

proc socketserver::options::Defaults {} {
    variable table
    return [dict map {name row} $table {dict get $row default}]
}

# The full name of an option that may be abbreviated.
proc socketserver::options::Find {name} {
    variable table
    set names [dict keys $table]
    try {
        return [tcl::prefix match -message option $names $name]
    } trap {TCL LOOKUP INDEX} {message failure} {
        return -options $failure "$message[::socketserver::DidYouMean $name $names]"
    }
}

# The normal form of a value.
proc socketserver::options::Check {name value} {
    variable table
    return [CheckAs $name [dict get $table $name kind] $value]
}

proc socketserver::options::CheckAs {name kindCmd value} {
    set arguments [lassign $kindCmd kind]
    try {
        return [kind::$kind {*}$arguments $value]
    } trap {SOCKETSERVER KIND} {mustBe} {
        throw [list SOCKETSERVER VALUE $name $value] \
            "bad value \"$value\" for $name: must be $mustBe"
    }
}

# Lays -option value pairs over options that were checked before.
proc socketserver::options::Merge {options pairs} {
    if {[llength $pairs] % 2 != 0} {
        set name [Find [lindex $pairs end]]
        throw [list SOCKETSERVER VALUE $name] "value for \"$name\" missing"
    }
    foreach {name value} $pairs {
        set name [Find $name]
        dict set options $name [Check $name $value]
    }
    return $options
}

# What no single option shows.
proc socketserver::options::CheckAll {options} {
    dict with options {
        if {${-handler} eq ""} {
            throw {SOCKETSERVER VALUE -handler {}} "bad value \"\" for -handler: must be given"
        }
        if {[llength ${-listen}] == 0} {
            throw {SOCKETSERVER VALUE -listen {}} "bad value \"\" for -listen: must be given"
        }
        if {${-maxworkers} > 0 && ${-minworkers} > ${-maxworkers}} {
            throw [list SOCKETSERVER VALUE -minworkers ${-minworkers}] "bad value\
                \"${-minworkers}\" for -minworkers: must not exceed -maxworkers ${-maxworkers}"
        }
        if {${-mode} eq "perconnection" && ${-concurrency} != 1} {
            throw [list SOCKETSERVER VALUE -concurrency ${-concurrency}] "bad value\
                \"${-concurrency}\" for -concurrency: must be 1 with -mode perconnection"
        }
    }
}

# ---- kinds of values ---------------------------------------------------------------

namespace eval socketserver::options::kind {}

proc socketserver::options::kind::MustBe {what} {
    throw {SOCKETSERVER KIND} $what
}

# Digits only: what begins with a 0 is not the same number for every Tcl.
proc socketserver::options::kind::Between {least most value} {
    return [expr {[regexp {^0*\d{1,15}$} $value] &&
        [scan $value %lld] >= $least && [scan $value %lld] <= $most}]
}

proc socketserver::options::kind::number {least most value} {
    if {![Between $least $most $value]} {
        MustBe "a whole number from $least to $most"
    }
    return [scan $value %lld]
}

proc socketserver::options::kind::ms {value} {
    if {![Between 0 2147483647 $value]} {
        MustBe "a number of milliseconds, from 0 to 2147483647"
    }
    return [scan $value %lld]
}

proc socketserver::options::kind::bytes {value} {
    if {![regexp -nocase {^(\d{1,15})([kmgt]?)b?$} [string trim $value] -> number unit]} {
        MustBe "a number of bytes such as 200000000 or 200M"
    }
    set power [string first [string tolower $unit] " kmgt"]
    return [expr {$number * 1024 ** ($unit eq "" ? 0 : $power)}]
}

proc socketserver::options::kind::bool {value} {
    if {![string is boolean -strict $value]} {
        MustBe "a boolean"
    }
    return [expr {bool($value)}]
}

proc socketserver::options::kind::choice {args} {
    set value [lindex $args end]
    set choices [lrange $args 0 end-1]
    if {$value ni $choices} {
        MustBe [unix_process::OneOf $choices]
    }
    return $value
}

proc socketserver::options::kind::text {value} {
    return $value
}

proc socketserver::options::kind::endpoints {value} {
    if {![string is list $value]} {
        MustBe "a list of endpoints"
    }
    return $value
}

proc socketserver::options::kind::command {value} {
    if {![string is list $value]} {
        MustBe "a command prefix"
    }
    return $value
}

proc socketserver::options::kind::script {value} {
    if {![info complete $value]} {
        MustBe "a complete script"
    }
    return $value
}

proc socketserver::options::kind::mode {value} {
    if {![regexp {^$|^(0o?)?[0-7]{1,4}$} $value]} {
        MustBe "octal permissions such as 0660"
    }
    return $value
}

proc socketserver::options::kind::rate {value} {
    if {$value eq ""} {
        return ""
    }
    if {[catch {llength $value} words] || $words ni {1 2}} {
        MustBe "a number of connections, and of seconds if it is not one"
    }
    lassign $value count seconds
    if {$words == 1} {
        set seconds 1
    }
    if {![Between 1 1000000000 $count] || ![string is double -strict $seconds] ||
        !($seconds >= 0.001 && $seconds <= 1e6)} {
        MustBe "a number of connections, and of seconds if it is not one"
    }
    return [list [scan $count %lld] $seconds]
}

proc socketserver::options::kind::backoff {value} {
    if {[catch {llength $value} words] || $words ni {1 2}} {
        MustBe "the first delay and the longest, in milliseconds"
    }
    lassign $value first longest
    if {$words == 1} {
        set longest $first
    }
    if {![Between 1 2147483647 $first] || ![Between $first 2147483647 $longest]} {
        MustBe "the first delay and the longest, in milliseconds"
    }
    return [list [scan $first %lld] [scan $longest %lld]]
}

# queue | refuse ?banner? | a command prefix
proc socketserver::options::kind::overload {value} {
    if {[catch {lindex $value 0} first] || $first eq "" ||
        ($first eq "queue" && [llength $value] > 1) ||
        ($first eq "refuse" && [llength $value] > 2)} {
        MustBe "queue, refuse ?banner? or a command prefix"
    }
    return $value
}

proc socketserver::options::kind::level {value} {
    choice debug info notice warn error critical alert emergency $value
}

# ---- the table ---------------------------------------------------------------------

# The number of processors that this process may run on.
proc socketserver::options::Processors {} {
    if {[catch {open /proc/self/status} file]} {
        return [expr {[catch {exec getconf _NPROCESSORS_ONLN} count] ? 1 : $count}]
    }
    set count 1
    if {[regexp {\nCpus_allowed_list:\s+([-,\d]+)} [read $file] -> list]} {
        set count [CountOf $list]
    }
    close $file
    return $count
}

# How many numbers a list such as 0-3,8 has.
proc socketserver::options::CountOf {list} {
    set count 0
    foreach range [split $list ,] {
        lassign [split $range -] first last
        incr count [expr {$last eq "" ? 1 : $last - $first + 1}]
    }
    return $count
}

proc socketserver::options::group {title} {
    variable group $title
}

proc socketserver::options::option {name kind default argument live summary} {
    variable table
    variable group
    dict set table $name [dict create kind $kind default $default argument $argument \
        live $live group $group summary $summary]
}

namespace eval socketserver::options {
    group "What is served"
    option -listen endpoints {} endpoints 0 \
        "where to listen: ports, address:port, unix:path, @name, fd:name"
    option -handler command {} cmd 0 \
        "called in a worker with channel, address and port of each connection"
    option -preload script {} script 0 "run once before workers are forked: loads the application"
    option -workerinit command {} cmd 0 "called in each worker before its first connection"
    option -workerexit command {} cmd 0 "called in each worker before it ends"
    option -backlog {number 0 65535} 1024 n 0 "connections that the kernel holds for each listener"
    option -permissions mode {} mode 0 "permissions of unix listeners; default: the umask's"
    option -name text socketserver name 0 "the name in process titles and in the log"

    group "Processes"
    option -mode {choice prefork perconnection} prefork mode 0 \
        "prefork: workers serve one connection after another; perconnection: a process for each"
    option -workers {number 0 4096} [Processors] n 1 "worker processes; default: one a processor"
    option -concurrency {number 1 1000000} 1 n 0 "connections that a worker serves at a time"
    option -maxchildren {number 1 4096} 40 n 1 "most processes with -mode perconnection"
    option -minworkers {number 0 4096} 1 n 1 "fewest workers, with -maxworkers"
    option -maxworkers {number 0 4096} 0 n 1 \
        "most workers: their number follows the queue; 0: always -workers"
    option -scaledown ms 10000 ms 1 "time after which one worker that was not needed goes"

    group "Limits"
    option -maxqueue {number 0 1000000} 0 n 0 \
        "connections that may wait for a worker; 0: what the kernel allows"
    option -maxconnections {number 0 1000000000} 0 n 1 "connections at a time; 0: no limit"
    option -maxpersource {number 0 1000000000} 0 n 1 \
        "connections at a time from one address; 0: no limit"
    option -maxrate rate {} "{n seconds}" 1 "connections in so many seconds; empty: no limit"
    option -overload overload queue policy 1 \
        "at a limit: queue (do not accept), refuse ?banner?, or a command that decides"
    option -acceptfilter command {} cmd 1 \
        "called in the parent with address and port: accept, refuse ?banner?, route target"

    group "Lives of workers"
    option -maxrequests {number 0 1000000000} 0 n 0 \
        "connections after which a worker is replaced; 0: never"
    option -jitter {number 0 1000000000} 0 n 0 "up to so many connections more, at random"
    option -maxrss bytes 0 bytes 1 "memory above which a worker is replaced; 0: no limit"
    option -timeout ms 0 ms 1 "a worker whose handler blocks for longer is killed; 0: never"
    option -idletimeout ms 0 ms 0 "a connection that is silent for longer is closed; 0: never"
    option -totaltimeout ms 0 ms 0 \
        "a connection is closed after so long, whatever it does; 0: never"
    option -gracetimeout ms 30000 ms 1 "a worker that is to end has so long to finish"
    option -boottimeout ms 30000 ms 1 "a worker, and -preload, may take so long to get ready"
    option -backoff backoff {100 10000} "{first longest}" 1 \
        "delay before a failed worker is replaced: doubled each time, in milliseconds"
    option -maxspawnfailures {number 0 1000000} 5 n 1 \
        "the pool stops after so many failed workers in a row; 0: never"
    option -onparentexit {choice finish drain} finish what 0 \
        "a worker whose parent died: finish what it serves, or drain the queue first"

    group "Safety"
    option -user text {} user 0 "user to run the application as"
    option -group text {} group 0 "its group; default: the user's"
    option -umask mode {} mode 0 "umask of the application"

    group "Operation"
    option -control text {} path 0 "unix socket for socketserverctl; empty: none"
    option -health text {} endpoint 0 "where balancers ask whether the pool is well; empty: nowhere"
    option -status text {} endpoint 0 \
        "where browsers see the pool at work; a port is one of 127.0.0.1; empty: nowhere"
    option -draindelay ms 0 ms 1 "time between telling balancers of a drain and the drain"
    option -proxyprotocol {choice off on require} off what 0 \
        "PROXY protocol: on where a client may speak it, require where each one must"
    option -proxytimeout ms 3000 ms 0 "time for the PROXY protocol's header to come"
    option -upgradecommand command {} words 1 \
        "program that upgrade starts in place of this one; default: this one again"
    option -notify bool 0 bool 0 "tell systemd of the pool's state (NOTIFY_SOCKET)"

    group "Log and hooks"
    option -log command {} cmd 1 \
        "command prefix, called with level and message, or a logger service; default: stderr"
    option -loglevel level warn level 1 "the least level to log"
    option -onstart command {} cmd 1 "called with the pool once it listens"
    option -onready command {} cmd 1 "called with the pool once its workers are ready"
    option -onspawn command {} cmd 1 "called with the pool, number and pid of a new worker"
    option -onworkerexit command {} cmd 1 \
        "called with the pool, number, pid, reason and status of a worker that ended"
    option -onoverload command {} cmd 1 "called with the pool and the limit that was reached"
    option -onreload command {} cmd 1 "called with the pool, 1 or 0, and the error message"
    option -onstop command {} cmd 1 "called with the pool once it has stopped"
}
