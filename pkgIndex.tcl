# The packages of this directory. The version stands here and nowhere else.

if {![package vsatisfies [package provide Tcl] 8.6-]} return

apply {{dir} {
    set version 0.1.0
    set major [lindex [split [info tclversion] .] 0]
    set library [file join $dir lib tcl$major uds[info sharedlibextension]]
    package ifneeded uds $version \
        "[list load $library Uds]; [list package provide uds $version]"
    foreach name {unix_sockets unix_process forkserver socketserver} {
        package ifneeded $name $version \
            "[list source [file join $dir $name.tcl]]; [list package provide $name $version]"
    }
}} $dir
