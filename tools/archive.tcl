# The source archive: all that git has, or, in an unpacked archive, all that is there but
# what was built. Equal sources make equal archives, wherever they are.

proc ArchiveName {} {
    return socketserver-[Version]
}

# Relative to the project.
proc SourceFiles {} {
    if {[IsRepository]} {
        set files [split [exec git -C $::root -c core.quotePath=off ls-files] \n]
    } else {
        set files [split [exec find $::root -type f -not -path $::root/build/* \
            -not -path $::root/lib/* -printf %P\n] \n]
    }
    # What somebody has removed and not committed is in git's list, too.
    return [lsort -unique [lmap file $files {
        expr {[file exists [file join $::root $file]] ? $file : [continue]}
    }]]
}

proc IsRepository {} {
    return [expr {[file exists [file join $::root .git]] && [auto_execok git] ne {}}]
}

# The time of all files in it, in seconds: that of the last commit, and then of the archive.
proc SourceTime {} {
    if {[info exists ::env(SOURCE_DATE_EPOCH)]} {
        return $::env(SOURCE_DATE_EPOCH)
    }
    if {[IsRepository]} {
        return [exec git -C $::root log -1 --format=%ct]
    }
    return [file mtime [file join $::root CHANGES.md]]
}

# Returns its path.
proc Archive {directory} {
    file mkdir $directory
    set target [file join $directory [ArchiveName].tar.gz]
    exec tar -c -C $::root --format=ustar --no-recursion --owner=0 --group=0 --numeric-owner \
        --mode=u=rwX,go=rX --mtime=@[SourceTime] --transform=s,^,[ArchiveName]/, \
        --files-from=- << [join [SourceFiles] \n] | gzip -n -9 > $target.new
    file rename -force $target.new $target
    return $target
}

verb archive {{directory build}} "?DIR?" "makes the source archive, in build/ or there" {
    puts [Archive [expr {
        $directory eq "build" ? [file join $::root build] : [file normalize $directory]
    }]]
}
