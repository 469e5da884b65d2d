mod real_mosquitto;
