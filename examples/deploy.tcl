#!/usr/bin/env tclsh
# deploy.tcl --
#
#   New versions of a web application go live while clients ask it without a pause:
#   nginx in front, the application in a pool on a unix socket that systemd holds (here
#   systemd-socket-activate in its place). Version 2 comes with a reload: new workers with
#   the new code. Version 3 with an upgrade: all of the program is new, as after an update
#   of the packages. Not one request fails. It works in a temporary directory.
#
#     tclsh examples/deploy.tcl

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require fileutil
source [file join [file dirname [file normalize [info script]]] clients.tcl]

if {$argc > 0} {
    puts "usage: deploy.tcl\nshows a deployment without a pause; needs nginx and systemd's programs"
    exit [expr {[lindex $argv 0] ni {--help -help -?}}]
}

set root [file dirname [file dirname [file normalize [info script]]]]
set env(PATH) $env(PATH):/usr/sbin

# ---- the application, and what is in front of it -------------------------------------

# Written to one side, then renamed: nobody sees a half of it.
proc install {version} {
    set text "source [list $::root/examples/httpd.tcl]\n"
    append text "proc httpd::hello {request} {return \[http1::text \"version $version\\n\"\]}\n"
    fileutil::writeFile $::directory/app.new $text
    file rename -force $::directory/app.new $::directory/app.tcl
}

proc startApplication {} {
    # systemd's unit would say ListenStream=, FileDescriptorName=, SocketMode=.
    return [open |[list systemd-socket-activate --listen=$::directory/web.sock --fdname=web \
        [info nameofexecutable] $::root/bin/socketserver --listen fd:web --workers 2 \
        --concurrency 64 --control $::directory/control $::directory/app.tcl \
        2> $::directory/pool.log < /dev/null]]
}

proc startNginx {port} {
    file attributes $::directory -permissions 0755 ;# its workers have another user
    set text [string map [list /tmp/httpd.sock $::directory/web.sock \
        "listen 8080" "listen 127.0.0.1:$port"] [fileutil::cat $::root/examples/nginx.conf]]
    fileutil::writeFile $::directory/nginx.conf $text
    return [open |[list nginx -e stderr -p $::directory -c $::directory/nginx.conf \
        2> $::directory/nginx.log < /dev/null]]
}

proc freePort {} {
    set channel [socket -server list -myaddr 127.0.0.1 0]
    set port [lindex [chan configure $channel -sockname] 2]
    close $channel
    return $port
}

# ---- the story -----------------------------------------------------------------------

proc answersOf {version} {
    set what "version $version"
    return [expr {[dict exists $clients::counts $what] ? [dict get $clients::counts $what] : 0}]
}

proc story {} {
    install 1
    set ::programs [startApplication]
    clients::await {[file exists $::directory/web.sock]}
    file attributes $::directory/web.sock -permissions 0666
    set port [freePort]
    lappend ::programs [startNginx $port]
    clients::await {![catch {close [socket 127.0.0.1 $port]}]}
    clients::start 127.0.0.1 $port 4
    clients::await {[answersOf 1] > 100}
    puts "version 1 serves"
    install 2
    clients::ctl $::directory/control reload --wait
    clients::await {[answersOf 2] > 100}
    puts "version 2 serves, after a reload"
    install 3
    clients::ctl $::directory/control upgrade --wait
    clients::await {[answersOf 3] > 100}
    puts "version 3 serves, after an upgrade of the whole program"
    clients::end
}

# What serves after the upgrade is not the child of this program.
proc endAll {} {
    catch {clients::ctl $::directory/control stop}
    foreach channel $::programs {
        catch {exec kill {*}[pid $channel]}
        catch {close $channel}
    }
    file delete -force $::directory
}

set directory [fileutil::maketempdir -prefix deploy-]
set programs {}
set failed 0
try {
    story
} on error {message} {
    set failed 1
    puts "FAILED: $message"
    foreach name {pool nginx} {
        catch {puts [fileutil::cat $directory/$name.log]}
    }
} finally {
    endAll
}
exit [expr {[clients::report] || $failed}]
