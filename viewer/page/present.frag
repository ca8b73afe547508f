#version 300 es
// The picture as blended, on the screen: over black, stretched where it is smaller.
precision highp float;

uniform sampler2D picture;
in vec2 place;
out vec4 shown;

void main() {
  shown = vec4(texture(picture, place).rgb, 1);
}
