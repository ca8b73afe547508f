#version 300 es
// The picture as blended, on the screen: over what is behind it, stretched where it is smaller.
precision highp float;

uniform sampler2D picture;
uniform vec3 behind;
in vec2 place;
out vec4 shown;

void main() {
  vec4 blended = texture(picture, place);
  shown = vec4(blended.rgb + (1.0 - blended.a) * behind, 1);
}
